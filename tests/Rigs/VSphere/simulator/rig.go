package simulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/ioutil"
	"net/http"
	"net/url"
	"os"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// Rig stands before the simulator: sessions and locks on /folder, a limit on requests, faults on demand, and a log of what was asked for.
type Rig struct {
	next http.Handler

	mutex    sync.Mutex
	faults   []*armed
	calls    map[string]int
	folder   int
	bytes    int64
	refused  int
	limit    int
	inFlight int
	most     int
}

// armed is a fault that waits for its request.
type armed struct {
	what, method, match, action string
	skip, times                 int
}

var theRig *Rig

// NewRig wraps the simulator's handler.
func NewRig(next http.Handler) *Rig {
	theRig = &Rig{next: next, calls: make(map[string]int)}
	return theRig
}

// DatastoreFolder is where the only datastore's files lie.
func (r *Rig) DatastoreFolder() string {
	return Map.Any("Datastore").(*Datastore).Info.GetDatastoreInfo().Url
}

func (r *Rig) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	switch {
	case strings.HasPrefix(req.URL.Path, "/rig/"):
		r.control(w, req)
	case strings.HasPrefix(req.URL.Path, folderPrefix):
		r.serveFolder(w, req)
	case strings.HasPrefix(req.URL.Path, nfcPrefix):
		r.serveExport(w, req)
	case req.URL.Path == "/sdk":
		r.serveSoap(w, req)
	default:
		r.count(req.Method + " " + req.URL.Path)
		if f := r.take("rest", req.Method, req.URL.Path); f != nil && r.spoil(f, w, req) {
			return
		}
		r.next.ServeHTTP(w, req)
	}
}

var methodPattern = regexp.MustCompile(`<(?:\w+:)?Body[^>]*>\s*<(?:\w+:)?(\w+)`)

func (r *Rig) serveSoap(w http.ResponseWriter, req *http.Request) {
	body, err := ioutil.ReadAll(req.Body)
	if err != nil {
		return
	}
	req.Body = ioutil.NopCloser(bytes.NewReader(body))
	method := ""
	if m := methodPattern.FindSubmatch(body); m != nil {
		method = string(m[1])
	}
	r.count(method)
	f := r.take("soap", method, string(body))
	if f == nil {
		r.next.ServeHTTP(w, req)
		return
	}
	switch {
	case strings.HasPrefix(f.action, "delayafter:"):
		r.next.ServeHTTP(w, req)
		pause(f.action)
	case f.action == "lost":
		// Done, and nobody is told.
		r.next.ServeHTTP(&nowhere{header: http.Header{}}, req)
		hangUp(w)
	case !r.spoil(f, w, req):
		r.next.ServeHTTP(w, req)
	}
}

// spoil answers as a fault wants it; false when the request goes on.
func (r *Rig) spoil(f *armed, w http.ResponseWriter, req *http.Request) bool {
	kind, value := f.action, ""
	if at := strings.Index(kind, ":"); at >= 0 {
		kind, value = kind[:at], kind[at+1:]
	}
	switch kind {
	case "delay":
		pause(f.action)
		return false
	case "status":
		status, _ := strconv.Atoi(value)
		w.WriteHeader(status)
	case "fault":
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprintf(w, `<?xml version="1.0"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body><soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>the rig says %s</faultstring><detail><%sFault xmlns="urn:vim25" xsi:type="%s"/></detail></soapenv:Fault></soapenv:Body></soapenv:Envelope>`, value, value, value)
	case "hang":
		<-req.Context().Done()
	case "close":
		hangUp(w)
	case "garbage":
		fmt.Fprint(w, "\x00\x01 this is no XML <<<")
	case "bomb":
		fmt.Fprint(w, `<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaaaaaaaa">`)
		for c := 'b'; c < 'k'; c++ {
			fmt.Fprintf(w, `<!ENTITY %c "%s">`, c, strings.Repeat(fmt.Sprintf("&%c;", c-1), 10))
		}
		fmt.Fprint(w, `]><e>&j;</e>`)
	case "external":
		fmt.Fprint(w, `<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a SYSTEM "file:///etc/passwd">]><e>&a;</e>`)
	case "deep":
		fmt.Fprint(w, strings.Repeat("<a>", 1000000))
	case "endless":
		chunk := bytes.Repeat([]byte("<a>b</a>"), 8192)
		fmt.Fprint(w, "<e>")
		for req.Context().Err() == nil {
			if _, err := w.Write(chunk); err != nil {
				break
			}
		}
	default:
		return false
	}
	return true
}

func (r *Rig) control(w http.ResponseWriter, req *http.Request) {
	q := req.URL.Query()
	answer := map[string]interface{}{}
	switch strings.TrimPrefix(req.URL.Path, "/rig/") {
	case "arm":
		r.mutex.Lock()
		r.faults = append(r.faults, &armed{what: q.Get("what"), method: q.Get("method"), match: q.Get("match"), action: q.Get("action"), skip: number(q, "skip", 0), times: number(q, "times", 1)})
		r.mutex.Unlock()
	case "reset":
		r.mutex.Lock()
		r.faults, r.calls, r.folder, r.bytes, r.refused, r.limit, r.most = nil, make(map[string]int), 0, 0, 0, 0, 0
		r.mutex.Unlock()
		pageCap, areaCap, areaLie = 0, 0, false
	case "expire":
		sm := Map.SessionManager()
		sessionMutex.Lock()
		for key := range sm.sessions {
			delete(sm.sessions, key)
		}
		sessionMutex.Unlock()
	case "limit":
		r.mutex.Lock()
		r.limit = number(q, "requests", 0)
		r.mutex.Unlock()
	case "pages":
		pageCap = number(q, "objects", 0)
	case "areas":
		areaCap, areaLie = int64(number(q, "bytes", 0)), q.Has("lie")
	case "log":
		r.mutex.Lock()
		answer["calls"], answer["folder"], answer["bytes"], answer["refused"], answer["most"] = r.calls, r.folder, r.bytes, r.refused, r.most
		defer r.mutex.Unlock()
	case "appliance":
		answer = setAppliance(q)
	case "vm":
		answer = changeVm(q)
	default:
		http.NotFound(w, req)
		return
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// take is the fault that is armed for a request; null when there is none.
func (r *Rig) take(what, method, content string) *armed {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for i, f := range r.faults {
		if f.what != what || (f.method != "" && f.method != method) || !strings.Contains(content, f.match) {
			continue
		}
		if f.skip > 0 {
			f.skip--
			continue
		}
		if f.times--; f.times <= 0 {
			r.faults = append(r.faults[:i:i], r.faults[i+1:]...)
		}
		return f
	}
	return nil
}

func (r *Rig) count(call string) {
	r.mutex.Lock()
	r.calls[call]++
	r.mutex.Unlock()
}

func number(q url.Values, name string, otherwise int) int {
	if n, err := strconv.Atoi(q.Get(name)); err == nil {
		return n
	}
	return otherwise
}

func pause(action string) {
	ms, _ := strconv.Atoi(action[strings.Index(action, ":")+1:])
	time.Sleep(time.Duration(ms) * time.Millisecond)
}

func hangUp(w http.ResponseWriter) {
	if connection, _, err := w.(http.Hijacker).Hijack(); err == nil {
		connection.Close()
	}
}

// nowhere takes an answer that is never sent.
type nowhere struct{ header http.Header }

func (n *nowhere) Header() http.Header         { return n.header }
func (n *nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (n *nowhere) WriteHeader(int)             {}

// serveFolder is the file access of a host: with a session, never to what a running VM writes, and not to many at once.
func (r *Rig) serveFolder(w http.ResponseWriter, req *http.Request) {
	r.mutex.Lock()
	r.folder++
	r.inFlight++
	if r.inFlight > r.most {
		r.most = r.inFlight
	}
	isTooMany := r.limit > 0 && r.inFlight > r.limit
	if isTooMany {
		r.refused++
	}
	r.mutex.Unlock()
	defer func() {
		r.mutex.Lock()
		r.inFlight--
		r.mutex.Unlock()
	}()
	if isTooMany {
		time.Sleep(20 * time.Millisecond)
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	cookie, err := req.Cookie(soap.SessionCookieName)
	if err != nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if _, ok := Map.SessionManager().getSession(cookie.Value); !ok {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	name := strings.TrimPrefix(req.URL.Path, folderPrefix)
	if isLocked("[" + req.URL.Query().Get("dsName") + "] " + name) {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	f := r.take("folder", req.Method, req.URL.Path)
	if f == nil || !r.spoilFolder(f, w, req) {
		counted := &counter{ResponseWriter: w, rig: r}
		r.next.ServeHTTP(counted, req)
	}
}

type counter struct {
	http.ResponseWriter
	rig *Rig
}

func (c *counter) Write(b []byte) (int, error) {
	c.rig.mutex.Lock()
	c.rig.bytes += int64(len(b))
	c.rig.mutex.Unlock()
	return c.ResponseWriter.Write(b)
}

func (r *Rig) spoilFolder(f *armed, w http.ResponseWriter, req *http.Request) bool {
	var from, to int64
	_, _ = fmt.Sscanf(req.Header.Get("Range"), "bytes=%d-%d", &from, &to)
	length := to - from + 1
	switch f.action {
	case "short":
		// Fewer bytes than it says, then the end.
		w.Header().Set("Content-Length", strconv.FormatInt(length, 10))
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, to+1))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(make([]byte, length/2))
		hangUpAfter(w)
	case "less":
		// Half of the range, said honestly.
		w.Header().Set("Content-Length", strconv.FormatInt((length+1)/2, 10))
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, from+(length+1)/2-1, to+1))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(make([]byte, (length+1)/2))
	case "wrong":
		w.Header().Set("Content-Length", strconv.FormatInt(length, 10))
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from+1, to+1, to+2))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(make([]byte, length))
	case "lie":
		w.Header().Set("Content-Length", strconv.FormatInt(length, 10))
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, int64(1)<<62))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(make([]byte, length))
	case "whole":
		req.Header.Del("Range")
		return false
	default:
		return r.spoil(f, w, req)
	}
	return true
}

func hangUpAfter(w http.ResponseWriter) {
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
	panic(http.ErrAbortHandler)
}

// isLocked is true for the files that a running VM writes to.
func isLocked(name string) bool {
	for _, e := range Map.All("VirtualMachine") {
		vm := e.(*VirtualMachine)
		if vm.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOn {
			continue
		}
		for _, disk := range disksOf(vm) {
			if b, ok := disk.Backing.(types.BaseVirtualDeviceFileBackingInfo); ok {
				base := strings.TrimSuffix(b.GetVirtualDeviceFileBackingInfo().FileName, ".vmdk")
				if name == base+"-flat.vmdk" || name == base+"-delta.vmdk" {
					return true
				}
			}
		}
	}
	return false
}

func fileOf(name string) string {
	p, _ := parseDatastorePath(name)
	return path.Join(theRig.DatastoreFolder(), p.Path)
}

func remove(name string) { _ = os.Remove(fileOf(name)) }
