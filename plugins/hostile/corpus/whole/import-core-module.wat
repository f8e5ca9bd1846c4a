;; Wants the host to bring code.
(component
  (import "code" (core module (export "run" (func))))
  (instance $empty)
  (export "tce:policy/page-selection@0.2.0" (instance $empty)))
