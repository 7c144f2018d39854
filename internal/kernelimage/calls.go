package kernelimage

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/arch/x86/x86asm"
	"golang.org/x/sync/errgroup"
)

// Call is a direct call of a function, or a jump to the function (tail call).
type Call struct {
	Caller, Callee string
	// Module is the name of the module's file; empty for the kernel image.
	Module string
	// Args are the first four arguments. An argument that is not a constant is [Unknown].
	Args [4]int
}

// Unknown is the value of an argument that is not a constant.
const Unknown = -1

// Calls finds the calls of the functions callees in a kernel image and in all modules below its directory. It does not
// find calls through pointers. If the compiler inlined the calling function into another one, Caller is that one.
func Calls(directory string, callees []string) ([]Call, error) {
	image, modules, err := find(directory)
	if err != nil {
		return nil, err
	}
	results := make([][]Call, len(modules)+1)
	var group errgroup.Group
	group.SetLimit(runtime.NumCPU())
	group.Go(func() (err error) {
		results[0], err = kernelCalls(image, callees)
		return err
	})
	for i, path := range modules {
		group.Go(func() (err error) {
			results[i+1], err = moduleCalls(path, callees)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return slices.Concat(results...), nil
}

func find(directory string) (image string, modules []string, err error) {
	err = filepath.WalkDir(directory, func(path string, entry fs.DirEntry, err error) error {
		switch name := filepath.Base(path); {
		case err != nil || entry.IsDir():
		case strings.HasPrefix(name, "vmlinuz"):
			image = path
		case strings.HasSuffix(strings.TrimSuffix(name, ".xz"), ".ko"):
			modules = append(modules, path)
		}
		return err
	})
	if err == nil && (image == "" || len(modules) == 0) {
		err = fmt.Errorf("%s has no kernel with modules", directory)
	}
	return image, modules, err
}

func kernelCalls(path string, callees []string) ([]Call, error) {
	file, err := vmlinux(path)
	if err != nil {
		return nil, err
	}
	all, err := functions(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	targets := make(map[uint64]string)
	for _, f := range all {
		if slices.Contains(callees, f.name) {
			targets[f.start] = f.name
		}
	}
	var calls []Call
	for _, section := range file.Sections {
		if section.Flags&elf.SHF_EXECINSTR == 0 || section.Type != elf.SHT_PROGBITS {
			continue
		}
		code, err := section.Data()
		if err != nil {
			return nil, err
		}
		for at := 1; at+4 <= len(code); at++ {
			if !isBranchOperand(code, at) {
				continue
			}
			offset := int64(int32(binary.LittleEndian.Uint32(code[at:])))
			callee, ok := targets[section.Addr+uint64(int64(at)+4+offset)]
			if !ok {
				continue
			}
			if caller, ok := enclosing(all, section.Addr+uint64(at)); ok {
				before := code[max(caller.start, section.Addr)-section.Addr : at]
				calls = append(calls, Call{caller.name, callee, "", arguments(before)})
			}
		}
	}
	return calls, nil
}

// isBranchOperand reports whether the operand at a position, which is relative to the next instruction, may belong to a
// call or a jump. Bytes of other instructions may look the same, but they rarely lead to a given function.
func isBranchOperand(code []byte, at int) bool {
	const call, jump, prefix, jumpIf = 0xe8, 0xe9, 0x0f, 0x80
	opcode := code[at-1]
	return opcode == call || opcode == jump || opcode&0xf0 == jumpIf && at > 1 && code[at-2] == prefix
}

func moduleCalls(path string, callees []string) ([]Call, error) {
	file, err := module(path)
	if err != nil {
		return nil, err
	}
	symbols, err := file.Symbols()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	name, _, _ := strings.Cut(filepath.Base(path), ".")
	var calls []Call
	for _, relocations := range file.Sections {
		if relocations.Type != elf.SHT_RELA { //nolint:misspell // the name in ELF
			continue
		}
		section := file.Sections[relocations.Info]
		if section.Flags&elf.SHF_EXECINSTR == 0 {
			continue
		}
		found, err := relocatedCalls(relocations, section, symbols, elf.SectionIndex(relocations.Info), callees)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for _, call := range found {
			call.Module = name
			calls = append(calls, call)
		}
	}
	return calls, nil
}

// relocatedCalls returns the calls in a section of a module. Their operands are in relocations, because the kernel
// fills them in when it loads the module.
func relocatedCalls(relocations, section *elf.Section, symbols []elf.Symbol, index elf.SectionIndex, callees []string) ([]Call, error) {
	table, err := relocations.Data()
	if err != nil {
		return nil, err
	}
	var calls []Call
	var all []function
	var code []byte
	for reader := bytes.NewReader(table); reader.Len() > 0; {
		var relocation elf.Rela64
		if err := binary.Read(reader, binary.LittleEndian, &relocation); err != nil {
			return nil, err
		}
		symbol := elf.R_SYM64(relocation.Info)
		if symbol == 0 || !slices.Contains(callees, symbols[symbol-1].Name) {
			continue
		}
		if code == nil {
			if code, err = section.Data(); err != nil {
				return nil, err
			}
			all = functionsOf(symbols, index)
		}
		if caller, ok := enclosing(all, relocation.Off); ok {
			before := code[caller.start:relocation.Off]
			calls = append(calls, Call{caller.name, symbols[symbol-1].Name, "", arguments(before)})
		}
	}
	return calls, nil
}

func functionsOf(symbols []elf.Symbol, section elf.SectionIndex) []function {
	var all []function
	for _, symbol := range symbols {
		if symbol.Section == section && elf.ST_TYPE(symbol.Info) == elf.STT_FUNC && !strings.HasPrefix(symbol.Name, padding) {
			all = append(all, function{base(symbol.Name), symbol.Value})
		}
	}
	sortFunctions(all)
	return all
}

// parameters maps the registers of the first four arguments, in all sizes into which compilers load constants.
var parameters = map[x86asm.Reg]int{
	x86asm.EDI: 0, x86asm.RDI: 0,
	x86asm.ESI: 1, x86asm.RSI: 1,
	x86asm.EDX: 2, x86asm.RDX: 2,
	x86asm.ECX: 3, x86asm.RCX: 3,
}

// arguments determines the arguments of a call from the function's code before it. It does not follow jumps: if two
// branches load different values, it returns the last one.
func arguments(code []byte) [4]int {
	unknown := [4]int{Unknown, Unknown, Unknown, Unknown}
	args := unknown
	for len(code) > 0 {
		instruction, err := x86asm.Decode(code, 64)
		if err != nil {
			code = code[1:] // an instruction that the decoder does not know, for example endbr64
			continue
		}
		code = code[instruction.Len:]
		register, _ := instruction.Args[0].(x86asm.Reg)
		index, ok := parameters[register]
		switch {
		case instruction.Op == x86asm.CALL:
			args = unknown
		case !ok || instruction.Op == x86asm.CMP || instruction.Op == x86asm.TEST || instruction.Op == x86asm.PUSH:
		default:
			args[index] = result(instruction)
		}
	}
	return args
}

// result returns the constant that an instruction loads into its first operand, or [Unknown].
func result(instruction x86asm.Inst) int {
	switch immediate, ok := instruction.Args[1].(x86asm.Imm); {
	case ok && instruction.Op == x86asm.MOV:
		return int(immediate)
	case instruction.Op == x86asm.XOR && instruction.Args[0] == instruction.Args[1]:
		return 0
	}
	return Unknown
}
