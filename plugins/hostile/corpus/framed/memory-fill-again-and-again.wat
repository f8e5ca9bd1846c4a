;; Fills its memory again and again: few instructions, much work.
(core module $policy
  (memory (export "memory") 200)
  (global $free (mut i32) (i32.const 4096))
  (func (export "realloc") (param i32 i32 i32 i32) (result i32)
    (global.set $free (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.get $free)
    (global.set $free (i32.add (global.get $free) (local.get 3))))
  (func (export "select-pages") (param i32) (result i32)
    (loop $again
      (memory.fill (i32.const 0) (i32.const 1) (i32.const 13107200))
      (br $again))
    (unreachable))
  (func (export "post") (param i32)))
