;; Notes a line while it takes the question, where the component model lets nobody leave.
(core module $policy
  (import "lines" "memory" (memory 16))
  (import "log" "write" (func $write (param i32 i32 i32)))
  (export "memory" (memory 0))
  ;; ok([{ page: 16, regions: [1, 2] }])
  (data (i32.const 16) "\00\00\00\00\20\00\00\00\01\00\00\00")
  (data (i32.const 32) "\10\00\00\00\2c\00\00\00\02\00\00\00" "\01\00\00\00\02\00\00\00")
  (data (i32.const 64) "line")
  (func (export "realloc") (param i32 i32 i32 i32) (result i32)
    (call $write (i32.const 1) (i32.const 64) (i32.const 4))
    (i32.const 4096))
  (func (export "select-pages") (param i32) (result i32) (i32.const 16))
  (func (export "post") (param i32)))
