;; Has a resource among the types.
(component
  (import "tce:policy/types@0.2.0" (instance (export "clock" (type (sub resource)))))
  (instance $empty)
  (export "tce:policy/page-selection@0.2.0" (instance $empty)))
