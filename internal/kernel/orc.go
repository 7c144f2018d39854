package kernel

// OrcTables is where an x86 kernel has the tables by which it unwinds its own stack
// (CONFIG_UNWINDER_ORC, arch/x86/kernel/unwind_orc.c). They are about the kernel
// proper: modules have tables of their own.
type OrcTables struct {
	// IPs is the address of the sorted table of instructions, Entries that of their
	// entries; Count the length of both.
	IPs, Entries uint64
	Count        uint32
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
	count := (end - start) / sizeOfOrcIP
	if start == 0 || tables.Entries == 0 || end <= start || count >= mostOrcPlace {
		return OrcTables{}, false
	}
	tables.Count = uint32(count)
	return tables, true
}

// Text is where the code of the kernel proper begins and ends, which is not that of modules;
// false where the kernel does not show it.
func (s *Symbols) Text() (start, end uint64, ok bool) {
	start, _, begins := s.Range("_stext")
	end, _, ends := s.Range("_etext")
	if !begins || !ends {
		return 0, 0, false
	}
	return start, end, true
}
