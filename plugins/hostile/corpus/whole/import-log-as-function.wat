;; Wants the log to be a function.
(component
  (import "tce:policy/log@0.2.0" (func (param "line" string)))
  (instance $empty)
  (export "tce:policy/page-selection@0.2.0" (instance $empty)))
