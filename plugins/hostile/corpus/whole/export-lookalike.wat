;; Decides on what looks like page selection, with a Cyrillic letter.
(component
  (instance $empty)
  (export "tce:policy/page-selecti\u{43e}n@0.2.0" (instance $empty)))
