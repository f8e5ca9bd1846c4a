;; Exports a function by the name of an interface.
(component
  (core module $m (func (export "f")))
  (core instance $i (instantiate $m))
  (func $f (canon lift (core func $i "f")))
  (export "tce:policy/page-selection@0.2.0" (func $f)))
