package bpf

import "crypto/sha256"

// Fingerprint is of the programs and maps, as they were compiled: where it is the same, so is
// the meaning of what they record.
func Fingerprint() [sha256.Size]byte { return sha256.Sum256(_CapmonBytes) }
