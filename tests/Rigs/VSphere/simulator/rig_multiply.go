package simulator

import (
	"fmt"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/vim25/types"
)

// Multiply lists a VM under many names: an inventory of ten thousand without as many files.
func Multiply(copies int) {
	vms := Map.All("VirtualMachine")
	if len(vms) == 0 || copies == 0 {
		return
	}
	first := vms[0].(*VirtualMachine)
	folder := Map.Get(*first.Parent).(*Folder)
	for i := 0; i < copies; i++ {
		config := *first.Config
		config.Uuid, config.InstanceUuid = uuid.New().String(), uuid.New().String()
		vm := &VirtualMachine{VirtualMachine: first.VirtualMachine}
		vm.Self = types.ManagedObjectReference{Type: "VirtualMachine", Value: fmt.Sprintf("vm-copy-%d", i)}
		vm.Name = fmt.Sprintf("copy %05d", i)
		config.Name = vm.Name
		vm.Config = &config
		Map.Put(vm)
		folder.ChildEntity = append(folder.ChildEntity, vm.Self)
	}
}
