package simulator

import (
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"sync"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

var (
	// pageCap is the most objects of one answer, whatever was asked for.
	pageCap int

	pagesMutex sync.Mutex
	pages      = map[string]page{}
	pageNumber int
)

type page struct {
	objects []types.ObjectContent
	most    int
}

// RetrievePropertiesEx in pages, as a server does it.
func (pc *PropertyCollector) RetrievePropertiesEx(ctx *Context, r *types.RetrievePropertiesEx) soap.HasFault {
	res := pc.retrievePropertiesExOfSimulator(ctx, r).(*methods.RetrievePropertiesExBody)
	if res.Fault() != nil || res.Res.Returnval == nil || r.Options.MaxObjects <= 0 {
		return res
	}
	most := int(r.Options.MaxObjects)
	if pageCap > 0 && most > pageCap {
		most = pageCap
	}
	res.Res.Returnval.Objects, res.Res.Returnval.Token = cut(ctx, page{res.Res.Returnval.Objects, most})
	return res
}

// ContinueRetrievePropertiesEx gives the next page.
func (pc *PropertyCollector) ContinueRetrievePropertiesEx(ctx *Context, r *types.ContinueRetrievePropertiesEx) soap.HasFault {
	body := new(methods.ContinueRetrievePropertiesExBody)
	key := ctx.Session.Key + r.Token
	pagesMutex.Lock()
	rest, ok := pages[key]
	delete(pages, key)
	pagesMutex.Unlock()
	if !ok {
		body.Fault_ = Fault("", &types.InvalidProperty{Name: "token"})
		return body
	}
	body.Res = new(types.ContinueRetrievePropertiesExResponse)
	body.Res.Returnval.Objects, body.Res.Returnval.Token = cut(ctx, rest)
	return body
}

// CancelRetrievePropertiesEx forgets the pages that are left.
func (pc *PropertyCollector) CancelRetrievePropertiesEx(ctx *Context, r *types.CancelRetrievePropertiesEx) soap.HasFault {
	pagesMutex.Lock()
	delete(pages, ctx.Session.Key+r.Token)
	pagesMutex.Unlock()
	return &methods.CancelRetrievePropertiesExBody{Res: new(types.CancelRetrievePropertiesExResponse)}
}

func cut(ctx *Context, p page) ([]types.ObjectContent, string) {
	if len(p.objects) <= p.most {
		return p.objects, ""
	}
	pagesMutex.Lock()
	defer pagesMutex.Unlock()
	pageNumber++
	token := fmt.Sprint(pageNumber)
	key := token
	if ctx.Session != nil {
		key = ctx.Session.Key + token
	}
	pages[key] = page{p.objects[p.most:], p.most}
	return p.objects[:p.most], token
}

// ExportSnapshot opens a lease on the disks of a snapshot as streams.
func (v *VirtualMachineSnapshot) ExportSnapshot(ctx *Context, req *types.ExportSnapshot) soap.HasFault {
	lease := NewHttpNfcLease(ctx, v.Vm)
	for _, device := range v.Config.Hardware.Device {
		disk, ok := device.(*types.VirtualDisk)
		if !ok {
			continue
		}
		b, ok := disk.Backing.(types.BaseVirtualDeviceFileBackingInfo)
		if !ok {
			continue
		}
		name := fmt.Sprintf("disk-%d.vmdk", disk.Key)
		lease.files[name] = fileOf(b.GetVirtualDeviceFileBackingInfo().FileName)
		lease.Info.DeviceUrl = append(lease.Info.DeviceUrl, types.HttpNfcLeaseDeviceUrl{
			Key: fmt.Sprintf("/%s/%s", v.Vm.Value, slotOf(v.Config.Hardware.Device, disk)), Disk: types.NewBool(true), TargetId: name,
			Url: "https://*" + nfcPrefix + lease.Reference().Value + "/" + name,
		})
	}
	return &methods.ExportSnapshotBody{Res: &types.ExportSnapshotResponse{Returnval: lease.Reference()}}
}

// slotOf is how a lease names a device: its controller's type and number, and the unit there.
func slotOf(devices []types.BaseVirtualDevice, disk *types.VirtualDisk) string {
	for _, device := range devices {
		if c, ok := device.(types.BaseVirtualController); ok && c.GetVirtualController().Key == disk.ControllerKey {
			return fmt.Sprintf("%s%d:%d", reflect.TypeOf(device).Elem().Name(), c.GetVirtualController().BusNumber, *disk.UnitNumber)
		}
	}
	return ""
}

// serveExport streams a disk of a lease; there are no ranges.
func (r *Rig) serveExport(w http.ResponseWriter, req *http.Request) {
	parts := strings.Split(req.URL.Path, "/")
	l, ok := nfcLease.Load(types.ManagedObjectReference{Type: "HttpNfcLease", Value: parts[len(parts)-2]})
	if !ok {
		http.NotFound(w, req)
		return
	}
	name, ok := l.(*HttpNfcLease).files[parts[len(parts)-1]]
	if !ok {
		http.NotFound(w, req)
		return
	}
	f := r.take("export", req.Method, req.URL.Path)
	if f != nil && r.spoil(f, w, req) {
		return
	}
	stream(w, name, f != nil && f.action == "half")
}
