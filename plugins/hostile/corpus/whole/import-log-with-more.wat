;; Wants the log to answer, too.
(component
  (import "tce:policy/log@0.2.0" (instance (export "read" (func (result u64)))))
  (instance $empty)
  (export "tce:policy/page-selection@0.2.0" (instance $empty)))
