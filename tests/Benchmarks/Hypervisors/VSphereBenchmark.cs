using System.Globalization;
using System.Text.Json;
using Vmsweep.Benchmarks.Measuring;
using Vmsweep.Golden;
using Vmsweep.Rigs;

namespace Vmsweep.Benchmarks.Hypervisors;

/// <summary>A VM's disk over <c>/folder</c> against <c>curl</c> for the same file, and an inventory of ten thousand, on the simulated vCenter.</summary>
internal static class VSphereBenchmark
{
    private const int DiskMegabytes = 512;

    /// <summary>True when the contents are equal.</summary>
    public static bool Run(int rounds)
    {
        string launcher = Path.Combine(Repository.Root, "vmsweep");
        using var scratch = new Scratch();
        using var rig = new VSphereRig("-copies", "10000");
        Tool.Shell($"head -c {DiskMegabytes}M /dev/urandom > disk.raw", scratch.Folder);
        rig.SetDisk(VSphereRig.Machine, scratch["disk.raw"], VSphereRig.Machine + "/disk.vmdk");
        rig.Vm(VSphereRig.Machine, ("power", "poweredOff"));
        string configuration = Configure(rig, scratch);
        string flat = Path.Combine(rig.Datastore, VSphereRig.Machine, "disk-flat.vmdk");
        Console.WriteLine("\nvSphere: the names of 10,001 VMs, and the 512 MiB disk of one of them");
        string[] inventory = [launcher, configuration], read = [launcher, configuration, $"lab/{VSphereRig.Machine}"], curl = [rig.CaFile, rig.Address, scratch["cookies"], VSphereRig.Password];

        // What finding the VM takes is in both, so that the ratio is one of bytes.
        const string find = "\"$1\" inventory lab --config \"$2\" > /dev/null";
        Rounds costs = Rounds.Run(
        [
            new("curl", [flat], () => Measured.Script(Curl + " -o /dev/null", curl)),
            new("vmsweep inventory", [], () => Measured.Script(find, inventory)),
            new("vmsweep read", [flat], () => Measured.Script("\"$1\" read \"$3\" --config \"$2\" > /dev/null", read)),
        ], rounds);
        costs.Print("curl");
        double seconds = Math.Max(0.01, costs.Seconds("vmsweep read") - costs.Seconds("vmsweep inventory"));
        rig.Reset();
        bool isEqual = Measured.Script("cmp <(\"$1\" read \"$3\" --config \"$2\") \"$4\"", [.. read, flat], 1).Status == 0;
        JsonElement log = rig.Control("log");
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"  ranges beside curl (inventory left out): {costs.Seconds("curl") / seconds:0.00} of its speed, {DiskMegabytes * 1.048576 / seconds:0} MB/s here; {(double)log.GetProperty("folder").GetInt32() / DiskMegabytes:0.00} requests for each MiB; inventory {costs.Seconds("vmsweep inventory"):0.0} s"));
        Console.WriteLine($"  contents {(isEqual ? "equal" : "DIFFERENT")}");
        return isEqual;
    }

    private const string Curl =
        """
        curl -sf --cacert "$1" -c "$3" -o /dev/null -H 'SOAPAction: "urn:vim25/6.5"' --data "<Envelope xmlns='http://schemas.xmlsoap.org/soap/envelope/'><Body><Login xmlns='urn:vim25'><_this type='SessionManager'>SessionManager</_this><userName>scanner</userName><password>$(sed 's/&/\&amp;/g; s/</\&lt;/g' <<< "$4")</password></Login></Body></Envelope>" "https://$2/sdk"
        curl -sf --cacert "$1" -b "$3" "https://$2/folder/DC0_C0_RP0_VM0/disk-flat.vmdk?dcPath=F0%2FDC0&dsName=LocalDS_0"
        """;

    private static string Configure(VSphereRig rig, Scratch scratch)
    {
        File.WriteAllText(scratch["secret"], VSphereRig.Password);
        Tool.Run("chmod", "600", scratch["secret"]);
        File.WriteAllText(
            scratch["c.json"],
            $$"""{ "connectors": { "lab": { "address": "vsphere://{{rig.Address}}", "account": "{{VSphereRig.Account}}", "secret": { "file": "{{scratch["secret"]}}" }, "certificate": "{{rig.Fingerprint}}", "views": "{{scratch["v"]}}" } } }""");
        return scratch["c.json"];
    }
}
