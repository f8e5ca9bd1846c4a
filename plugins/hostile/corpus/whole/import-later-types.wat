;; Has the types of a version that the host does not speak.
(component
  (import "tce:policy/types@7.0.0" (instance (export "setting" (type (sub resource)))))
  (instance $empty)
  (export "tce:policy/page-selection@0.2.0" (instance $empty)))
