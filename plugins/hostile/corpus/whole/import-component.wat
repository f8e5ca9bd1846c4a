;; Wants the host to bring a component, by a name of ours.
(component
  (import "tce:policy/log@0.2.0" (component))
  (instance $empty)
  (export "tce:policy/page-selection@0.2.0" (instance $empty)))
