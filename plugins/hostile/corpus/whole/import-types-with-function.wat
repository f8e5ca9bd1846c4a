;; Has a function among the types.
(component
  (import "tce:policy/types@0.2.0" (instance (export "now" (func (result u64)))))
  (instance $empty)
  (export "tce:policy/page-selection@0.2.0" (instance $empty)))
