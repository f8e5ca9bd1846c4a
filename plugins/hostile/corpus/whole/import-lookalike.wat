;; Wants what is written like our log with a digit for a letter.
(component
  (import "tce:po1icy/log@0.2.0" (instance (export "write" (func))))
  (import "tce:policy/l0g@0.2.0" (instance (export "write" (func))))
  (import "tce:policy/logs@0.2.0" (instance (export "write" (func))))
  (instance $empty)
  (export "tce:policy/page-selection@0.2.0" (instance $empty)))
