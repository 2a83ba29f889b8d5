package simulator

import (
	"io"
	"io/ioutil"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
)

// stream sends a disk as a host exports it: streamOptimized, made by qemu-img.
func stream(w http.ResponseWriter, disk string) {
	folder, err := ioutil.TempDir("", "export")
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	defer os.RemoveAll(folder)
	out := filepath.Join(folder, "out.vmdk")
	// qemu-img wants the create type that it writes itself.
	if err := exec.Command("qemu-img", "convert", "-O", "vmdk", "-o", "subformat=streamOptimized", disk, out).Run(); err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	file, err := os.Open(out)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	defer file.Close()
	_, _ = io.Copy(w, file)
}
