package kernel

// OrcTables has the addresses of the tables with which an x86 kernel unwinds its own stack (CONFIG_UNWINDER_ORC,
// arch/x86/kernel/unwind_orc.c). They cover the kernel image; modules have their own tables.
type OrcTables struct {
	// IPs is the address of the sorted table of instruction addresses, Entries the address of the table of their
	// entries, and Count the length of both tables.
	IPs, Entries uint64
	Count        uint32
	// Modules is the address of the kernel's list of modules; 0 unless exactly one symbol has that name.
	Modules uint64
}

// Labels of the linker script (include/asm-generic/vmlinux.lds.h).
const (
	orcIPs        = "__start_orc_unwind_ip"
	orcIPsEnd     = "__stop_orc_unwind_ip"
	orcEntries    = "__start_orc_unwind"
	moduleList    = "modules" // kernel/module/main.c
	orcIPSize     = 4
	maxOrcEntries = 1 << 24 // more than any kernel has
)

// isOrcLabel reports whether OrcTables needs the symbol.
func isOrcLabel(name []byte) bool {
	switch string(name) {
	case orcIPs, orcIPsEnd, orcEntries, moduleList:
		return true
	}
	return false
}

// OrcTables returns the addresses of the tables; false if the kernel has no such tables or does not show them.
func (s *Symbols) OrcTables() (OrcTables, bool) {
	start, end := s.orc[orcIPs], s.orc[orcIPsEnd]
	tables := OrcTables{IPs: start, Entries: s.orc[orcEntries], Modules: s.orc[moduleList]}
	count := (end - start) / orcIPSize
	if start == 0 || tables.Entries == 0 || end <= start || count >= maxOrcEntries {
		return OrcTables{}, false
	}
	tables.Count = uint32(count)
	return tables, true
}

// Text returns where the code of the kernel image, without modules, begins and ends; false if the kernel does not show
// it.
func (s *Symbols) Text() (start, end uint64, ok bool) {
	start, _, begins := s.Range("_stext")
	end, _, ends := s.Range("_etext")
	if !begins || !ends {
		return 0, 0, false
	}
	return start, end, true
}
