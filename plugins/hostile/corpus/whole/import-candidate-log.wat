;; Wants the log of a version that is not out.
(component
  (import "tce:policy/log@0.2.0-rc.1" (instance))
  (instance $empty)
  (export "tce:policy/page-selection@0.2.0" (instance $empty)))
