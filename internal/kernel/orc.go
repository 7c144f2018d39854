package kernel

// OrcTables is where an x86 kernel has the tables by which it unwinds its own stack
// (CONFIG_UNWINDER_ORC, arch/x86/kernel/unwind_orc.c), and the code that they are about,
// which is not that of modules: these have tables of their own.
type OrcTables struct {
	// IPs is the address of the sorted table of instructions, Entries that of their
	// entries; Count the length of both.
	IPs, Entries uint64
	Count        uint32
	// TextStart and TextEnd enclose the code.
	TextStart, TextEnd uint64
	// Modules is the address of the kernel's list of modules; 0 if there is none or more than
	// one symbol of that name.
	Modules uint64
}

// Labels of the linker script (include/asm-generic/vmlinux.lds.h).
const (
	orcIPs       = "__start_orc_unwind_ip"
	orcIPsEnd    = "__stop_orc_unwind_ip"
	orcEntries   = "__start_orc_unwind"
	moduleList   = "modules" // kernel/module/main.c
	sizeOfOrcIP  = 4
	mostOrcPlace = 1 << 24 // more than any kernel has
)

// isOrcLabel tells the data that OrcTables needs.
func isOrcLabel(name []byte) bool {
	switch string(name) {
	case orcIPs, orcIPsEnd, orcEntries, moduleList:
		return true
	}
	return false
}

// OrcTables finds the tables; false where the kernel has none or does not show them.
func (s *Symbols) OrcTables() (OrcTables, bool) {
	start, end := s.orc[orcIPs], s.orc[orcIPsEnd]
	tables := OrcTables{IPs: start, Entries: s.orc[orcEntries], Modules: s.orc[moduleList]}
	var begins, ends bool
	tables.TextStart, _, begins = s.Range("_stext")
	tables.TextEnd, _, ends = s.Range("_etext")
	count := (end - start) / sizeOfOrcIP
	if start == 0 || tables.Entries == 0 || end <= start || count >= mostOrcPlace || !begins || !ends {
		return OrcTables{}, false
	}
	tables.Count = uint32(count)
	return tables, true
}
