;; Wants to start threads.
(component
  (core type $start (func (param i32)))
  (core func $spawn (canon thread.yield))
  (instance $empty)
  (export "tce:policy/page-selection@0.2.0" (instance $empty)))
