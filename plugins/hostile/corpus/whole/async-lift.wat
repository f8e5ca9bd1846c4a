;; Lifts a function that may wait.
(component
  (core module $m (func (export "f") (result i32) (i32.const 0)))
  (core instance $i (instantiate $m))
  (func $f async (canon lift (core func $i "f") async (callback (core func $i "f"))))
  (instance $empty)
  (export "tce:policy/page-selection@0.2.0" (instance $empty)))
