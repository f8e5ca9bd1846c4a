;; Wants to know the time and to read files.
(component
  (import "wasi:clocks/wall-clock@0.2.0" (instance (export "now" (func (result u64)))))
  (import "wasi:filesystem/preopens@0.2.0" (instance))
  (instance $empty)
  (export "tce:policy/page-selection@0.2.0" (instance $empty)))
