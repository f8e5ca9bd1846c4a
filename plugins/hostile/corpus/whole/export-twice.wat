;; Exports one name twice.
(component
  (instance $empty)
  (export "tce:policy/page-selection@0.2.0" (instance $empty))
  (export "tce:policy/page-selection@0.2.0" (instance $empty)))
