;; Puts every part of the question in the same place. That spoils nothing but its own question.
(core module $policy
  (memory (export "memory") 2)
  ;; ok([{ page: 16, regions: [1, 2] }])
  (data (i32.const 16) "\00\00\00\00\20\00\00\00\01\00\00\00")
  (data (i32.const 32) "\10\00\00\00\2c\00\00\00\02\00\00\00" "\01\00\00\00\02\00\00\00")
  (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
  (func (export "select-pages") (param i32) (result i32) (i32.const 16))
  (func (export "post") (param i32)))
