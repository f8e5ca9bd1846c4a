;; Wants a function by a name of no package.
(component
  (import "log" (func (param "line" string)))
  (instance $empty)
  (export "tce:policy/page-selection@0.2.0" (instance $empty)))
