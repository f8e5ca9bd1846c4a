    (core instance $policy (instantiate $policy
      (with "lines" (instance $lines)) (with "log" (instance $log-for-core))))
    (func $select-pages
      (param "question" $page-question) (result (result (list $page-choice) (error $refusal)))
      (canon lift (core func $policy "select-pages")
        (memory (core memory $policy "memory")) (realloc (core func $policy "realloc"))
        (post-return (core func $policy "post"))))
    (instance $page-selection (export "select-pages" (func $select-pages)))
    (export "tce:policy/page-selection@0.2.0" (instance $page-selection))
