    (func $describe-settings (result (list $setting-description))
      (canon lift (core func $policy "describe-settings") (memory (core memory $policy "memory"))))
    (func $validate-settings (param "settings" (list $setting)) (result (list $setting-problem))
      (canon lift (core func $policy "validate-settings")
        (memory (core memory $policy "memory")) (realloc (core func $policy "realloc"))))
    (instance $settings
      (export "describe-settings" (func $describe-settings))
      (export "validate-settings" (func $validate-settings)))
    (export "tce:policy/settings@0.2.0" (instance $settings))
