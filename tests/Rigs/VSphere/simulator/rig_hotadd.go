package simulator

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// appliance is the VM that stands for the machine that this runs on: what is attached to it becomes a disk here, a loop device with the link that udev
// would make.
type appliance struct {
	mutex sync.Mutex

	name, links, how string

	// loops by the attached file, with the link to each; a loop may be empty where the disk never appears.
	loops map[string][2]string

	// wrongs is what was asked for that would harm somebody's disk, and busy the disks that were detached while they were open.
	wrongs []string
	busy   int
}

var theAppliance appliance

// setAppliance makes a VM the appliance. how: "" as it should be, "never" appears, "short" of half its bytes, "late" by a second, "scsi" under the other name,
// "uuid" of another disk.
func setAppliance(q url.Values) map[string]interface{} {
	a := &theAppliance
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if q.Has("name") {
		for file := range a.loops {
			a.unplug(file)
		}
		a.name, a.links, a.how, a.loops, a.wrongs, a.busy = q.Get("name"), q.Get("links"), q.Get("how"), map[string][2]string{}, nil, 0
		_ = os.MkdirAll(a.links, 0755)
	}
	var attached []string
	for file := range a.loops {
		attached = append(attached, file)
	}
	return map[string]interface{}{"attached": attached, "wrongs": a.wrongs, "busy": a.busy}
}

// ReconfigVMTask as on a host, which tells a disk's uuid and size by itself.
func (vm *VirtualMachine) ReconfigVMTask(ctx *Context, req *types.ReconfigVM_Task) soap.HasFault {
	a := &theAppliance
	if vm.Name != a.name {
		return vm.reconfigVMTaskOfSimulator(ctx, req)
	}
	a.mutex.Lock()
	defer a.mutex.Unlock()
	for _, change := range req.Spec.DeviceChange {
		spec := change.GetVirtualDeviceConfigSpec()
		disk, ok := spec.Device.(*types.VirtualDisk)
		if !ok {
			continue
		}
		backing, _ := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		if spec.FileOperation != "" || backing == nil || backing.DiskMode != "independent_nonpersistent" {
			a.wrongs = append(a.wrongs, fmt.Sprintf("%s %s of %#v", spec.Operation, spec.FileOperation, disk.Backing))
			continue
		}
		if spec.Operation == types.VirtualDeviceConfigSpecOperationAdd {
			if owner := diskOf(backing.FileName); owner != nil {
				backing.Uuid = owner.Backing.(*types.VirtualDiskFlatVer2BackingInfo).Uuid
				disk.CapacityInKB, disk.CapacityInBytes = owner.CapacityInKB, owner.CapacityInBytes
			}
			if a.how == "uuid" {
				backing.Uuid = "6000c290-0000-0000-0000-000000000001"
			}
		}
	}
	res := vm.reconfigVMTaskOfSimulator(ctx, req)
	now := map[string]string{}
	for _, disk := range disksOf(vm) {
		if backing, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok && backing.DiskMode == "independent_nonpersistent" {
			now[backing.FileName] = backing.Uuid
		}
	}
	for file := range a.loops {
		if _, ok := now[file]; !ok {
			a.unplug(file)
		}
	}
	for file, id := range now {
		if _, ok := a.loops[file]; !ok {
			a.plug(file, id)
		}
	}
	return res
}

// diskOf is the disk of a VM that a file belongs to, as it was when that file was its top.
func diskOf(file string) *types.VirtualDisk {
	for _, e := range Map.All("VirtualMachine") {
		vm := e.(*VirtualMachine)
		for _, disk := range disksOf(vm) {
			if vm.Name == theAppliance.name {
				continue
			}
			backing, _ := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
			for b := backing; b != nil; b = b.Parent {
				if b.FileName == file {
					found := *disk
					found.Backing = b
					return &found
				}
			}
		}
	}
	return nil
}

// isAttached is true for a file that the appliance has.
func isAttached(file string) bool {
	theAppliance.mutex.Lock()
	defer theAppliance.mutex.Unlock()
	_, ok := theAppliance.loops[file]
	return ok
}

func (a *appliance) plug(file, id string) {
	if a.how == "never" {
		a.loops[file] = [2]string{}
		return
	}
	flat := fileOf(strings.TrimSuffix(file, ".vmdk") + "-flat.vmdk")
	arguments := []string{"--find", "--show", "--read-only"}
	if info, err := os.Stat(flat); err == nil && a.how == "short" {
		arguments = append(arguments, "--sizelimit", fmt.Sprint(info.Size()/2))
	}
	out, err := exec.Command("losetup", append(arguments, flat)...).CombinedOutput()
	if err != nil {
		a.wrongs = append(a.wrongs, fmt.Sprintf("losetup: %s", out))
		return
	}
	loop, name := strings.TrimSpace(string(out)), "wwn-0x"
	if a.how == "scsi" {
		name = "scsi-3"
	}
	link := filepath.Join(a.links, name+strings.ToLower(strings.ReplaceAll(id, "-", "")))
	a.loops[file] = [2]string{loop, link}
	if a.how == "late" {
		time.AfterFunc(time.Second, func() { _ = os.Symlink(loop, link) })
		return
	}
	_ = os.Symlink(loop, link)
}

func (a *appliance) unplug(file string) {
	plugged := a.loops[file]
	delete(a.loops, file)
	if plugged[0] == "" {
		return
	}
	_ = os.Remove(plugged[1])
	_ = exec.Command("losetup", "--detach", plugged[0]).Run()
	if _, err := os.Stat("/sys/block/" + filepath.Base(plugged[0]) + "/loop/backing_file"); err == nil {
		// Somebody reads it, so that it goes when he has closed it.
		a.busy++
	}
}

// refusal is how a host answers who would merge a disk that is attached elsewhere.
func refusal() soap.HasFault {
	return &methods.RemoveSnapshot_TaskBody{Fault_: Fault("the disk is attached to another VM", &types.FileLocked{})}
}

// changeOptions sets what the appliance's VM is asked about.
func (vm *VirtualMachine) changeOptions(q url.Values) {
	if option := q.Get("option"); option != "" {
		var kept []types.BaseOptionValue
		for _, o := range vm.Config.ExtraConfig {
			if o.GetOptionValue().Key != option {
				kept = append(kept, o)
			}
		}
		vm.Config.ExtraConfig = append(kept, &types.OptionValue{Key: option, Value: q.Get("value")})
	}
	if id := q.Get("bios"); id != "" {
		vm.Config.Uuid = id
	}
	if fill := q.Get("fill"); fill != "" {
		// Devices at all units of the first disk's controller, or none but what was there.
		var devices []types.BaseVirtualDevice
		for _, device := range vm.Config.Hardware.Device {
			if device.GetVirtualDevice().Key < 90000 {
				devices = append(devices, device)
			}
		}
		for unit := int32(1); fill == "1" && unit < 64; unit++ {
			at := unit
			devices = append(devices, &types.VirtualSCSIPassthrough{VirtualDevice: types.VirtualDevice{Key: 90000 + unit, ControllerKey: disksOf(vm)[0].ControllerKey, UnitNumber: &at}})
		}
		vm.Config.Hardware.Device = devices
	}
}
