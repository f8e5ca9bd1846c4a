;; Wants what looks like our log, with a Cyrillic letter.
(component
  (import "tce:p\u{43e}licy/log@0.2.0" (instance (export "write" (func))))
  (instance $empty)
  (export "tce:policy/page-selection@0.2.0" (instance $empty)))
