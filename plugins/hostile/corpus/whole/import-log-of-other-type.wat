;; Wants to note numbers.
(component
  (import "tce:policy/log@0.2.0" (instance (export "write" (func (param "number" u64)))))
  (instance $empty)
  (export "tce:policy/page-selection@0.2.0" (instance $empty)))
