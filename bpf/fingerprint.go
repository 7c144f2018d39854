package bpf

import "crypto/sha256"

// Fingerprint returns the hash of the compiled programs and maps. Two versions of capmon with the same fingerprint
// record the same data in the same layout.
func Fingerprint() [sha256.Size]byte { return sha256.Sum256(_CapmonBytes) }
