package simulator

import (
	"encoding/binary"
	"fmt"
	"io/ioutil"
	"net/url"
	"os"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

func disksOf(vm *VirtualMachine) []*types.VirtualDisk {
	var disks []*types.VirtualDisk
	for _, device := range vm.Config.Hardware.Device {
		if disk, ok := device.(*types.VirtualDisk); ok {
			disks = append(disks, disk)
		}
	}
	return disks
}

// CreateSnapshotTask as on a host: each disk that is no independent one goes on in a delta.
func (vm *VirtualMachine) CreateSnapshotTask(req *types.CreateSnapshot_Task) soap.HasFault {
	if isTracked(vm) {
		vm.beginEpoch()
	}
	res := vm.createSnapshotTaskOfSimulator(req)
	if res.Fault() != nil {
		return res
	}
	vm.replaceDisks(func(disk *types.VirtualDisk) {
		backing, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		if !ok || strings.HasPrefix(backing.DiskMode, "independent") {
			return
		}
		over := *backing
		over.FileName = nextDelta(backing.FileName)
		over.Parent = backing
		writeDelta(over.FileName, backing.FileName)
		disk.Backing = &over
	})
	return res
}

// RemoveSnapshotTask as on a host: the delta that was made with it is merged away, wherever in the chains it lies by now. What several branches stand on stays.
func (v *VirtualMachineSnapshot) RemoveSnapshotTask(ctx *Context, req *types.RemoveSnapshot_Task) soap.HasFault {
	vm := Map.Get(v.Vm).(*VirtualMachine)
	below := map[int32]string{}
	for _, device := range v.Config.Hardware.Device {
		if disk, ok := device.(*types.VirtualDisk); ok {
			if b, ok := disk.Backing.(types.BaseVirtualDeviceFileBackingInfo); ok {
				below[disk.Key] = b.GetVirtualDeviceFileBackingInfo().FileName
			}
		}
	}
	for _, file := range below {
		if isAttached(file) {
			return refusal()
		}
	}
	// The simulator lays out flat disks alone.
	devices := vm.Config.Hardware.Device
	vm.Config.Hardware.Device = nil
	for _, device := range devices {
		if disk, ok := device.(*types.VirtualDisk); ok {
			if _, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo); !ok {
				continue
			}
		}
		vm.Config.Hardware.Device = append(vm.Config.Hardware.Device, device)
	}
	res := v.removeSnapshotTaskOfSimulator(ctx, req)
	vm.Config.Hardware.Device = devices
	above, isUsed := map[string]map[string]bool{}, map[string]bool{}
	vm.changeLayers(func(key int32, layer *types.VirtualDiskFlatVer2BackingInfo) *types.VirtualDiskFlatVer2BackingInfo {
		isUsed[layer.FileName] = true
		if layer.Parent != nil && layer.Parent.FileName == below[key] {
			if above[below[key]] == nil {
				above[below[key]] = map[string]bool{}
			}
			above[below[key]][layer.FileName] = true
		}
		return layer
	})
	vm.changeLayers(func(key int32, layer *types.VirtualDiskFlatVer2BackingInfo) *types.VirtualDiskFlatVer2BackingInfo {
		if layer.Parent == nil || len(above[below[key]]) != 1 {
			return layer
		}
		for merged := range above[below[key]] {
			if layer.FileName == merged {
				removeLayer(merged)
				return layer.Parent
			}
			nameParent(layer.FileName, merged, below[key])
		}
		return layer
	})
	for _, file := range below {
		// The end of a branch that the VM has left by a revert.
		if !isUsed[file] && deltaPattern.MatchString(file) {
			removeLayer(file)
		}
	}
	return res
}

// ConsolidateVMDisksTask ends what "consolidate=1" of the rig began.
func (vm *VirtualMachine) ConsolidateVMDisksTask(req *types.ConsolidateVMDisks_Task) soap.HasFault {
	task := CreateTask(vm, "consolidateVMDisks", func(*Task) (types.AnyType, types.BaseMethodFault) {
		vm.Runtime.ConsolidationNeeded = types.NewBool(false)
		return nil, nil
	})
	return &methods.ConsolidateVMDisks_TaskBody{Res: &types.ConsolidateVMDisks_TaskResponse{Returnval: task.Run()}}
}

// replaceDisks changes copies, because snapshots keep the devices of their time.
func (vm *VirtualMachine) replaceDisks(change func(*types.VirtualDisk)) {
	replaceDisksOf(&vm.Config.Hardware, change)
}

func replaceDisksOf(hardware *types.VirtualHardware, change func(*types.VirtualDisk)) {
	devices := make([]types.BaseVirtualDevice, len(hardware.Device))
	for i, device := range hardware.Device {
		if disk, ok := device.(*types.VirtualDisk); ok {
			fresh := *disk
			change(&fresh)
			device = &fresh
		}
		devices[i] = device
	}
	hardware.Device = devices
}

func (vm *VirtualMachine) snapshots() []*VirtualMachineSnapshot {
	var all []*VirtualMachineSnapshot
	if vm.Snapshot != nil {
		for _, reference := range allSnapshotsInTree(vm.Snapshot.RootSnapshotList) {
			all = append(all, Map.Get(reference).(*VirtualMachineSnapshot))
		}
	}
	return all
}

// changeLayers gives each layer of each disk, of the VM and of its snapshots, for another that takes its place; the lowest is asked for first.
func (vm *VirtualMachine) changeLayers(change func(int32, *types.VirtualDiskFlatVer2BackingInfo) *types.VirtualDiskFlatVer2BackingInfo) {
	var through func(int32, *types.VirtualDiskFlatVer2BackingInfo) *types.VirtualDiskFlatVer2BackingInfo
	through = func(key int32, layer *types.VirtualDiskFlatVer2BackingInfo) *types.VirtualDiskFlatVer2BackingInfo {
		fresh := *layer
		if fresh.Parent != nil {
			fresh.Parent = through(key, fresh.Parent)
		}
		return change(key, &fresh)
	}
	all := []*types.VirtualHardware{&vm.Config.Hardware}
	for _, snapshot := range vm.snapshots() {
		all = append(all, &snapshot.Config.Hardware)
	}
	for _, hardware := range all {
		replaceDisksOf(hardware, func(disk *types.VirtualDisk) {
			if flat, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
				disk.Backing = through(disk.Key, flat)
			}
		})
	}
}

func removeLayer(name string) {
	remove(name)
	remove(strings.TrimSuffix(name, ".vmdk") + "-delta.vmdk")
}

// revert has the VM go on over a snapshot without what it wrote since.
func (vm *VirtualMachine) revert(name string) {
	for _, snapshot := range vm.snapshots() {
		if findSnapshotInTree(vm.Snapshot.RootSnapshotList, snapshot.Self).Name != name {
			continue
		}
		below := map[int32]*types.VirtualDiskFlatVer2BackingInfo{}
		replaceDisksOf(&snapshot.Config.Hardware, func(disk *types.VirtualDisk) {
			below[disk.Key], _ = disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		})
		vm.replaceDisks(func(disk *types.VirtualDisk) {
			flat, _ := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
			if flat == nil || below[disk.Key] == nil {
				return
			}
			over := *flat
			over.Parent = below[disk.Key]
			over.FileName = nextDelta(over.Parent.FileName)
			writeDelta(over.FileName, over.Parent.FileName)
			removeLayer(flat.FileName)
			disk.Backing = &over
		})
		vm.Snapshot.CurrentSnapshot = &snapshot.Self
	}
}

// nameParent has the descriptor of a layer name another file below it.
func nameParent(name, from, to string) {
	hint := func(parent string) string { return fmt.Sprintf("parentFileNameHint=\"%s\"", path.Base(fileOf(parent))) }
	if text, _ := ioutil.ReadFile(fileOf(name)); strings.Contains(string(text), hint(from)) {
		_ = ioutil.WriteFile(fileOf(name), []byte(strings.Replace(string(text), hint(from), hint(to), 1)), 0600)
	}
}

// move has the VM's disks lie in another folder of the datastore, with all that snapshots hold of them.
func (vm *VirtualMachine) move(folder string) {
	vm.changeLayers(func(_ int32, layer *types.VirtualDiskFlatVer2BackingInfo) *types.VirtualDiskFlatVer2BackingInfo {
		to := fmt.Sprintf("%s%s/%s", layer.FileName[:strings.Index(layer.FileName, "]")+2], folder, path.Base(layer.FileName))
		_ = os.MkdirAll(path.Dir(fileOf(to)), 0700)
		for _, part := range []string{"", "-flat", "-delta"} {
			_ = os.Rename(strings.TrimSuffix(fileOf(layer.FileName), ".vmdk")+part+".vmdk", strings.TrimSuffix(fileOf(to), ".vmdk")+part+".vmdk")
		}
		layer.FileName = to
		return layer
	})
}

// register gives the VM another reference, as one has that was taken out of the inventory and registered anew.
func (vm *VirtualMachine) register(reference string) {
	before := vm.Self
	folder := Map.Get(*vm.Parent).(*Folder)
	RemoveReference(&folder.ChildEntity, before)
	Map.Remove(before)
	vm.Self.Value = reference
	Map.Put(vm)
	folder.ChildEntity = append(folder.ChildEntity, vm.Self)
	for _, snapshot := range vm.snapshots() {
		snapshot.Vm = vm.Self
	}
}

var deltaPattern = regexp.MustCompile(`-(\d{6})\.vmdk$`)

func nextDelta(name string) string {
	base, n := strings.TrimSuffix(name, ".vmdk"), 1
	if m := deltaPattern.FindStringSubmatch(name); m != nil {
		base = strings.TrimSuffix(name, m[0])
	}
	for {
		next := fmt.Sprintf("%s-%06d.vmdk", base, n)
		if _, err := os.Stat(fileOf(next)); err != nil {
			return next
		}
		n++
	}
}

var extentPattern = regexp.MustCompile(`(?m)^RW (\d+) `)

// writeDelta makes an empty redo log (COWD) over a disk, as a host does.
func writeDelta(name, parent string) {
	descriptor, _ := ioutil.ReadFile(fileOf(parent))
	sectors := uint64(2048)
	if m := extentPattern.FindSubmatch(descriptor); m != nil {
		sectors, _ = strconv.ParseUint(string(m[1]), 10, 64)
	}
	cid := "ffffffff"
	if m := regexp.MustCompile(`(?m)^CID=(\w+)`).FindSubmatch(descriptor); m != nil {
		cid = string(m[1])
	}
	delta := strings.TrimSuffix(name, ".vmdk") + "-delta.vmdk"
	text := fmt.Sprintf("# Disk DescriptorFile\nversion=1\nCID=%s\nparentCID=%s\ncreateType=\"vmfsSparse\"\nparentFileNameHint=\"%s\"\n\n# Extent description\nRW %d VMFSSPARSE \"%s\"\n",
		cid, cid, path.Base(fileOf(parent)), sectors, path.Base(fileOf(delta)))
	_ = ioutil.WriteFile(fileOf(name), []byte(text), 0600)
	entries := (sectors + 4095) / 4096
	head := make([]byte, 2048+(entries*4+511)/512*512)
	copy(head, "COWD")
	for i, value := range []uint32{1, 3, uint32(sectors), 1, 4, uint32(entries), uint32(len(head) / 512)} {
		binary.LittleEndian.PutUint32(head[4+4*i:], value)
	}
	_ = ioutil.WriteFile(fileOf(delta), head, 0600)
}

// unregistered is a VM that a test took out of the inventory.
var unregistered *VirtualMachine

// changeVm does to a VM what a test asks for, and tells how it stands.
func changeVm(q url.Values) map[string]interface{} {
	var vm *VirtualMachine
	for _, e := range Map.All("VirtualMachine") {
		if e.(*VirtualMachine).Name == q.Get("name") {
			vm = e.(*VirtualMachine)
		}
	}
	if q.Has("back") && unregistered != nil {
		vm, unregistered = unregistered, nil
		Map.Put(vm)
		folder := Map.Get(*vm.Parent).(*Folder)
		folder.ChildEntity = append(folder.ChildEntity, vm.Self)
	}
	if vm == nil {
		return map[string]interface{}{"error": "no such VM"}
	}
	if q.Has("gone") {
		folder := Map.Get(*vm.Parent).(*Folder)
		RemoveReference(&folder.ChildEntity, vm.Self)
		Map.Remove(vm.Self)
		unregistered = vm
		return map[string]interface{}{}
	}
	if power := q.Get("power"); power != "" {
		vm.Runtime.PowerState = types.VirtualMachinePowerState(power)
		vm.Summary.Runtime.PowerState = vm.Runtime.PowerState
	}
	if name := q.Get("rename"); name != "" {
		vm.Name, vm.Config.Name = name, name
	}
	if folder := q.Get("move"); folder != "" {
		vm.move(folder)
	}
	if reference := q.Get("register"); reference != "" {
		vm.register(reference)
	}
	if snapshot := q.Get("revert"); snapshot != "" {
		vm.revert(snapshot)
	}
	vm.changeOptions(q)
	if how := q.Get("tracking"); how != "" {
		vm.track(how)
	}
	if need := q.Get("consolidate"); need != "" {
		vm.Runtime.ConsolidationNeeded = types.NewBool(need == "1")
	}
	if q.Has("plug") {
		for _, device := range vm.Config.Hardware.Device {
			if card, ok := device.(types.BaseVirtualEthernetCard); ok {
				card.GetVirtualEthernetCard().Connectable = &types.VirtualDeviceConnectInfo{StartConnected: true, Connected: true}
			}
		}
	}
	if attribute := q.Get("attribute"); attribute != "" {
		fields := Map.CustomFieldsManager()
		key := int32(len(fields.Field) + 1)
		fields.Field = append(fields.Field, types.CustomFieldDef{Key: key, Name: attribute, Type: "string"})
		vm.CustomValue = append(vm.CustomValue, &types.CustomFieldStringValue{CustomFieldValue: types.CustomFieldValue{Key: key}, Value: q.Get("value")})
	}
	if id := q.Get("keyId"); id != "" {
		vm.Config.KeyId = &types.CryptoKeyId{KeyId: id}
	} else if q.Has("keyId") {
		vm.Config.KeyId = nil
	}
	if free, err := strconv.ParseInt(q.Get("free"), 10, 64); err == nil {
		ds := Map.Any("Datastore").(*Datastore)
		ds.Summary.FreeSpace = free
		ds.Summary.Type = q.Get("type")
	}
	if file := q.Get("layout"); file != "" {
		p, _ := parseDatastorePath(file)
		info, _ := os.Stat(fileOf(file))
		vm.addFileLayoutEx(object.DatastorePath{Datastore: p.Datastore, Path: p.Path}, info.Size())
	}
	if q.Has("clear") {
		// As if no snapshot had ever been made.
		vm.Snapshot = nil
		vm.replaceDisks(func(disk *types.VirtualDisk) {
			for b, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok && b.Parent != nil; b, ok = disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo) {
				removeLayer(b.FileName)
				disk.Backing = b.Parent
			}
		})
	}
	if q.Has("removedisk") {
		removed := disksOf(vm)[number(q, "removedisk", 0)]
		var left []types.BaseVirtualDevice
		for _, device := range vm.Config.Hardware.Device {
			if device != types.BaseVirtualDevice(removed) {
				left = append(left, device)
			}
		}
		vm.Config.Hardware.Device = left
	}
	if q.Has("disk") {
		vm.changeDisk(q)
	}
	return vm.tell()
}

func (vm *VirtualMachine) changeDisk(q url.Values) {
	at, index := number(q, "disk", 0), 0
	vm.replaceDisks(func(disk *types.VirtualDisk) {
		if index++; index-1 != at {
			return
		}
		flat, _ := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		if flat != nil {
			fresh := *flat
			flat = &fresh
			disk.Backing = flat
		}
		if capacity, err := strconv.ParseInt(q.Get("capacity"), 10, 64); err == nil {
			disk.CapacityInBytes, disk.CapacityInKB = capacity, capacity/1024
		}
		if flat != nil && q.Get("mode") != "" {
			flat.DiskMode = q.Get("mode")
		}
		if flat != nil && q.Has("thin") {
			flat.ThinProvisioned = types.NewBool(q.Get("thin") == "1")
		}
		if flat != nil && q.Has("sharing") {
			flat.Sharing = q.Get("sharing")
		}
		if flat != nil && q.Has("content") {
			flat.ContentId = q.Get("content")
		}
		if flat != nil && q.Has("uuid") {
			flat.Uuid = q.Get("uuid")
		}
		if flat != nil && q.Get("file") != "" {
			flat.FileName = q.Get("file")
		}
		if flat != nil && q.Get("rdm") != "" {
			disk.Backing = &types.VirtualDiskRawDiskMappingVer1BackingInfo{
				VirtualDeviceFileBackingInfo: flat.VirtualDeviceFileBackingInfo, CompatibilityMode: q.Get("rdm"), DeviceName: "vml.02", LunUuid: "02", DiskMode: "persistent",
			}
		}
	})
	if index == at {
		// One more, on the same controller.
		first := *disksOf(vm)[0]
		first.Key += int32(at)
		unit := *first.UnitNumber + int32(at)
		first.UnitNumber = &unit
		first.Backing = &types.VirtualDiskFlatVer2BackingInfo{
			VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: q.Get("file")}, DiskMode: "persistent", ThinProvisioned: types.NewBool(true),
		}
		vm.Config.Hardware.Device = append(append([]types.BaseVirtualDevice{}, vm.Config.Hardware.Device...), &first)
	}
}

func (vm *VirtualMachine) tell() map[string]interface{} {
	var snapshots, disks []string
	var walk func([]types.VirtualMachineSnapshotTree)
	walk = func(tree []types.VirtualMachineSnapshotTree) {
		for _, node := range tree {
			snapshots = append(snapshots, node.Name)
			walk(node.ChildSnapshotList)
		}
	}
	if vm.Snapshot != nil {
		walk(vm.Snapshot.RootSnapshotList)
	}
	for _, disk := range disksOf(vm) {
		if b, ok := disk.Backing.(types.BaseVirtualDeviceFileBackingInfo); ok {
			disks = append(disks, b.GetVirtualDeviceFileBackingInfo().FileName)
		}
	}
	var cards []bool
	for _, device := range vm.Config.Hardware.Device {
		if card, ok := device.(types.BaseVirtualEthernetCard); ok {
			c := card.GetVirtualEthernetCard().Connectable
			cards = append(cards, c != nil && c.Connected)
		}
	}
	return map[string]interface{}{
		"power": vm.Runtime.PowerState, "snapshots": snapshots, "disks": disks, "annotation": vm.Config.Annotation, "id": vm.Self.Value, "uuid": vm.Config.InstanceUuid, "bios": vm.Config.Uuid,
		"consolidate": vm.Runtime.ConsolidationNeeded != nil && *vm.Runtime.ConsolidationNeeded, "cards": cards,
	}
}
