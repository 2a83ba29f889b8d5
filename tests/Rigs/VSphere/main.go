// A vCenter for tests: the govmomi simulator with what a scanner meets on a real one added from outside.
package main

import (
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net/url"
	"os"

	"github.com/vmware/govmomi/simulator"
	_ "github.com/vmware/govmomi/vapi/simulator"
)

func main() {
	machines := flag.Int("machines", 1, "VMs of each host or pool")
	copies := flag.Int("copies", 0, "entries of the first VM under other names")
	temporary := flag.String("tmp", "", "where datastores are made")
	certificate := flag.String("cert", "", "certificate of the server")
	key := flag.String("key", "", "its key")
	account := flag.String("account", "scanner", "who may log in")
	password := flag.String("password", "secret", "with which password")
	autostart := flag.Bool("autostart", false, "VMs run from the beginning")
	listen := flag.String("listen", "127.0.0.1:0", "address")
	flag.Parse()
	if *temporary != "" {
		os.Setenv("TMPDIR", *temporary)
	}

	pair, err := tls.LoadX509KeyPair(*certificate, *key)
	if err != nil {
		log.Fatal(err)
	}

	model := simulator.VPX()
	model.Folder = 1
	model.Host = 0
	model.ClusterHost = 1
	model.Machine = *machines
	model.Autostart = *autostart
	if err := model.Create(); err != nil {
		log.Fatal(err)
	}

	model.Service.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	model.Service.RegisterEndpoints = true
	model.Service.Listen = &url.URL{Host: *listen, User: url.UserPassword(*account, *password)}
	simulator.Multiply(*copies)
	server := model.Service.NewServer()
	rig := simulator.NewRig(server.Config.Handler)
	server.Config.Handler = rig
	ready, _ := json.Marshal(map[string]string{"address": server.URL.Host, "datastore": rig.DatastoreFolder()})
	fmt.Println("READY " + string(ready))
	select {}
}
