;; Wants our log without a version.
(component
  (import "tce:policy/log" (instance))
  (instance $empty)
  (export "tce:policy/page-selection@0.2.0" (instance $empty)))
