;; Divides by zero.
(core module $policy
  (memory (export "memory") 2)
  (global $free (mut i32) (i32.const 4096))
  (func (export "realloc") (param i32 i32 i32 i32) (result i32)
    (global.set $free (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.get $free)
    (global.set $free (i32.add (global.get $free) (local.get 3))))
  (func (export "select-pages") (param i32) (result i32)
    (i32.div_u (i32.const 1) (i32.const 0)))
  (func (export "post") (param i32)))
