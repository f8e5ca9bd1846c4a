    ;; The log, for the core module to write to: it needs a memory before there is the module that has the lines.
    (import "tce:policy/log@0.2.0" (instance $log
      (type $level-type (enum "debug" "note" "warning"))
      (export "level" (type $level (eq $level-type)))
      (export "write" (func (param "level" $level) (param "line" string)))))
    (core module $lines (memory (export "memory") 16))
    (core instance $lines (instantiate $lines))
    (alias core export $lines "memory" (core memory $lines-memory))
    (core func $write (canon lower (func $log "write") (memory $lines-memory)))
    (core instance $log-for-core (export "write" (func $write)))
