using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Vmsweep.Appliance.Connectors;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Https;
using Vmsweep.Appliance.Connectors.VSphere;
using Vmsweep.Benchmarks.Measuring;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.Golden;
using Vmsweep.Rigs;

namespace Vmsweep.Benchmarks.Hypervisors;

/// <summary>
/// A VM's disk over <c>/folder</c> against <c>curl</c> for the same ranges over as many connections, and an inventory of ten thousand, on the simulated vCenter.
/// </summary>
internal static class VSphereBenchmark
{
    private const string Small = "DC0_C0_RP0_VM1";
    private const int RangeBytes = 4 << 20;

    /// <summary>True when the contents are equal.</summary>
    /// <param name="bytes">Of the disk.</param>
    /// <param name="isWhole">With the program, and not only the connector's reader in this process.</param>
    public static bool Run(long bytes, int rounds, bool isWhole)
    {
        string launcher = Path.Combine(Repository.Root, "vmsweep");
        using var scratch = new Scratch();
        using var rig = new VSphereRig("-machines", "2", "-copies", "10000");
        long megabytes = bytes >> 20;
        Tool.Shell(string.Create(CultureInfo.InvariantCulture, $"head -c {megabytes}M /dev/urandom > disk.raw; head -c 1M /dev/urandom > small.raw"), scratch.Folder);
        foreach ((string vm, string raw) in ((string, string)[])[(VSphereRig.Machine, "disk.raw"), (Small, "small.raw")])
        {
            rig.SetDisk(vm, scratch[raw], vm + "/disk.vmdk");
            rig.Vm(vm, ("power", "poweredOff"));
        }

        File.Delete(scratch["disk.raw"]);
        string configuration = Configure(rig, scratch);
        string flat = Path.Combine(rig.Datastore, VSphereRig.Machine, "disk-flat.vmdk");
        Console.WriteLine($"\nvSphere: the names of 10,002 VMs, and the {megabytes} MiB disk of one of them");
        string[] inventory = [launcher, configuration], read = [launcher, configuration, $"lab/{VSphereRig.Machine}"], least = [launcher, configuration, $"lab/{Small}"];
        string[] whole = [rig.CaFile, rig.Address, scratch["cookies"], VSphereRig.Password], ranges = [.. whole, Ranges(rig, scratch, megabytes << 20), HostGate.MostReaders.ToString(CultureInfo.InvariantCulture)];
        const string reading = "\"$1\" read \"$3\" --config \"$2\" > /dev/null";
        Subject[] readers =
        [
            new("curl, one connection", [flat], () => Measured.Script(LogIn + Whole, whole)),
            new("curl, the same ranges", [flat], () => Measured.Script(LogIn + Parallel, ranges)),
            new("the connector alone", [flat], () => Alone(configuration)),
        ];
        Subject[] program =
        [
            new("vmsweep read, 1 MiB", [], () => Measured.Script(reading, least)),
            new("vmsweep read", [flat], () => Measured.Script(reading, read)),
            new("vmsweep inventory", [], () => Measured.Script("\"$1\" inventory lab --config \"$2\" > /dev/null", inventory)),
        ];
        var costs = Rounds.Run(isWhole ? [.. readers, .. program] : readers, rounds);
        costs.Print("curl, the same ranges");
        if (!isWhole)
        {
            return true;
        }

        // What it takes to find and open a VM is in a disk of 1 MiB too, so that the ratio is one of bytes.
        double seconds = Math.Max(0.01, costs.Seconds("vmsweep read") - costs.Seconds("vmsweep read, 1 MiB")), curl = costs.Seconds("curl, the same ranges"), alone = costs.Seconds("the connector alone");
        rig.Reset();
        bool isEqual = Measured.Script("cmp <(\"$1\" read \"$3\" --config \"$2\") \"$4\"", [.. read, flat], 1).Status == 0;
        int requests = rig.Control("log").GetProperty("folder").GetInt32();
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"  speed beside curl with the same ranges and connections: the connector {curl / alone:0.00}, vmsweep read beyond a disk of 1 MiB {curl / seconds:0.00} ({megabytes * 1.048576 / seconds:0} MB/s here); {(double)requests / megabytes:0.00} requests for each MiB; inventory {costs.Seconds("vmsweep inventory"):0.0} s"));
        Console.WriteLine($"  contents {(isEqual ? "equal" : "DIFFERENT")}");
        return isEqual;
    }

    private const string LogIn =
        """
        curl -sf --cacert "$1" -c "$3" -o /dev/null -H 'SOAPAction: "urn:vim25/6.5"' --data "<Envelope xmlns='http://schemas.xmlsoap.org/soap/envelope/'><Body><Login xmlns='urn:vim25'><_this type='SessionManager'>SessionManager</_this><userName>scanner</userName><password>$(sed 's/&/\&amp;/g; s/</\&lt;/g' <<< "$4")</password></Login></Body></Envelope>" "https://$2/sdk"

        """;

    private const string Whole = "curl -sf --cacert \"$1\" -b \"$3\" \"https://$2/folder/DC0_C0_RP0_VM0/disk-flat.vmdk?dcPath=F0%2FDC0&dsName=LocalDS_0\" -o /dev/null";

    private const string Parallel = "curl -sf --no-progress-meter --cacert \"$1\" -b \"$3\" --parallel --parallel-immediate --parallel-max \"$6\" -K \"$5\"";

    /// <summary>What curl is to fetch, as its configuration.</summary>
    private static string Ranges(VSphereRig rig, Scratch scratch, long bytes)
    {
        using StreamWriter list = File.CreateText(scratch["ranges"]);
        for (long at = 0; at < bytes; at += RangeBytes)
        {
            list.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{(at > 0 ? "next\nsilent\nfail\ncacert = \"" + rig.CaFile + "\"\ncookie = \"" + scratch["cookies"] + "\"\n" : "")}url = \"https://{rig.Address}/folder/{VSphereRig.Machine}/disk-flat.vmdk?dcPath=F0%2FDC0&dsName=LocalDS_0\"\nrange = \"{at}-{Math.Min(at + RangeBytes, bytes) - 1}\"\noutput = \"/dev/null\""));
        }

        return scratch["ranges"];
    }

    /// <summary>The file as the connector reads it, in order, in this process.</summary>
    private static Cost Alone(string configuration)
    {
        using var connector = (VSphereConnector)new ConnectorCatalog(ApplianceConfiguration.Read(configuration), TimeProvider.System).Open("lab");
        connector.Check();
        using var process = Process.GetCurrentProcess();
        TimeSpan before = process.TotalProcessorTime;
        long began = Stopwatch.GetTimestamp();
        using (var reader = new FolderReader(new RangeFetch(connector.Session, "F0/DC0")))
        using (IBlockSource source = reader.Open(new DatastorePath("LocalDS_0", VSphereRig.Machine + "/disk-flat.vmdk")))
        {
            byte[] some = new byte[256 << 10];
            for (long at = 0; at < source.Length; at += some.Length)
            {
                source.Read(at, some.AsSpan(0, (int)Math.Min(some.Length, source.Length - at)));
            }
        }

        process.Refresh();
        return new Cost(Stopwatch.GetElapsedTime(began), process.TotalProcessorTime - before, process.WorkingSet64, process.WorkingSet64, 0);
    }

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
