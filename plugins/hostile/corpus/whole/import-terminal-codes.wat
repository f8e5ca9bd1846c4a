;; Wants what clears the screen of whoever prints its name as it is.
(component
  (import "\1b[2J\1b[Hall is well\0a" (func))
  (instance $empty)
  (export "tce:policy/page-selection@0.2.0" (instance $empty)))
