;; Wants the log of a version that the host does not speak.
(component
  (import "tce:policy/log@0.3.0" (instance $log
    (type $level' (enum "debug" "note" "warning"))
    (export "level" (type $level (eq $level')))
    (export "write" (func (param "level" $level) (param "line" string)))))
  (instance $empty)
  (export "tce:policy/page-selection@0.2.0" (instance $empty)))
