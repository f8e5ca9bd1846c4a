;; Answers ok, with garbage beside the byte that says so. It is an answer.
(core module $policy
  (memory (export "memory") 2)
  (global $free (mut i32) (i32.const 4096))
  ;; ok([{ page: 16, regions: [1, 2] }])
  (data (i32.const 16) "\00\ff\ff\ff\20\00\00\00\01\00\00\00")
  (data (i32.const 32) "\10\00\00\00\2c\00\00\00\02\00\00\00" "\01\00\00\00\02\00\00\00")
  (func (export "realloc") (param i32 i32 i32 i32) (result i32)
    (global.set $free (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.get $free)
    (global.set $free (i32.add (global.get $free) (local.get 3))))
  (func (export "select-pages") (param i32) (result i32) (i32.const 16))
  (func (export "post") (param i32)))
