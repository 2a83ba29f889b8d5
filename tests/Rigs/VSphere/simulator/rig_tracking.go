package simulator

import (
	"fmt"
	"io"
	"io/ioutil"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// record is what a host knows of a disk's changes: its content at the beginning of each epoch, so that what changed since is found by comparing.
type record struct {
	series string
	number int
}

var (
	// records by the disk's lowest file.
	records = map[string]*record{}

	// areaCap is the most bytes that one answer on areas covers.
	areaCap int64

	// areaLie has the host say that nothing is stored of any disk.
	areaLie bool
)

const areaBlock = 64 << 10

func isTracked(vm *VirtualMachine) bool {
	return vm.Config.ChangeTrackingEnabled != nil && *vm.Config.ChangeTrackingEnabled
}

// track begins or ends tracking: "1", "0", or "back" to an earlier epoch, as after a revert.
func (vm *VirtualMachine) track(how string) {
	vm.Config.ChangeTrackingEnabled = types.NewBool(how != "0")
	if how == "back" {
		for _, r := range records {
			r.number -= 3
		}
	} else {
		records = map[string]*record{}
	}
	if how == "0" {
		vm.replaceDisks(func(disk *types.VirtualDisk) {
			if flat, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
				fresh := *flat
				fresh.ChangeId = ""
				disk.Backing = &fresh
			}
		})
		return
	}
	vm.beginEpoch()
}

// beginEpoch gives each disk a new change id and keeps what it holds now.
func (vm *VirtualMachine) beginEpoch() {
	vm.replaceDisks(func(disk *types.VirtualDisk) {
		flat, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		if !ok {
			return
		}
		name := lowest(flat)
		r := records[name]
		if r == nil {
			r = &record{series: fmt.Sprintf("% x", uuid.New())}
			records[name] = r
		}
		r.number++
		fresh := *flat
		fresh.ChangeId = fmt.Sprintf("%s/%d", r.series, r.number)
		disk.Backing = &fresh
		if content, err := ioutil.ReadFile(flatOf(name)); err == nil {
			_ = ioutil.WriteFile(epochOf(fresh.ChangeId), content, 0600)
		}
	})
}

func lowest(b *types.VirtualDiskFlatVer2BackingInfo) string {
	for b.Parent != nil {
		b = b.Parent
	}
	return b.FileName
}

func flatOf(name string) string { return fileOf(strings.TrimSuffix(name, ".vmdk") + "-flat.vmdk") }

func epochOf(changeId string) string {
	return filepath.Join(os.TempDir(), "epoch-"+strings.NewReplacer("/", "-", " ", "").Replace(changeId))
}

// QueryChangedDiskAreas tells what is stored of a flat disk ("*"), or what differs from an earlier epoch, in answers that may cover only a part.
func (vm *VirtualMachine) QueryChangedDiskAreas(ctx *Context, r *types.QueryChangedDiskAreas) soap.HasFault {
	body := new(methods.QueryChangedDiskAreasBody)
	for _, disk := range disksOf(vm) {
		flat, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		if disk.Key != r.DeviceKey || !ok {
			continue
		}
		name := lowest(flat)
		file, err := os.Open(flatOf(name))
		if err != nil {
			body.Fault_ = Fault(err.Error(), &types.FileNotFound{FileFault: types.FileFault{File: name}})
			return body
		}
		defer file.Close()
		var before *os.File
		if r.ChangeId != "*" {
			known := records[name]
			if known != nil && strings.HasPrefix(r.ChangeId, known.series+"/") {
				before, _ = os.Open(epochOf(r.ChangeId))
			}
			if before == nil || (r.Snapshot == nil && vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn) {
				body.Fault_ = Fault("", &types.FileFault{File: name})
				return body
			}
			defer before.Close()
		}
		info, _ := file.Stat()
		end := info.Size()
		if areaCap > 0 && r.StartOffset+areaCap < end {
			end = r.StartOffset + areaCap
		}
		result := types.DiskChangeInfo{StartOffset: r.StartOffset, Length: end - r.StartOffset}
		for at := r.StartOffset; at < end; at += areaBlock {
			block := blockOf(file, at, end)
			if (before == nil && (areaLie || isZero(block))) || (before != nil && string(block) == string(blockOf(before, at, end))) {
				continue
			}
			if last := len(result.ChangedArea) - 1; last >= 0 && result.ChangedArea[last].Start+result.ChangedArea[last].Length == at {
				result.ChangedArea[last].Length += int64(len(block))
			} else {
				result.ChangedArea = append(result.ChangedArea, types.DiskChangeExtent{Start: at, Length: int64(len(block))})
			}
		}
		body.Res = &types.QueryChangedDiskAreasResponse{Returnval: result}
		return body
	}
	body.Fault_ = Fault("", &types.InvalidArgument{InvalidProperty: "deviceKey"})
	return body
}

func blockOf(file *os.File, at, end int64) []byte {
	block := make([]byte, min64(areaBlock, end-at))
	n, _ := io.ReadFull(io.NewSectionReader(file, at, end-at), block)
	return block[:n]
}

func min64(a, b int64) int64 {
	if a < b {
		return a
	}
	return b
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
