using System.Globalization;
using System.Xml.Linq;
using Serilog;
using Vmsweep.Appliance.Connectors.Https;
using Vmsweep.Appliance.Connectors.VSphere;

namespace Vmsweep.Appliance.Connectors.HyperV.Wmi;

/// <summary>One machine with Hyper-V, by its WMI. Spec: "Hyper-V WMI provider (V2)", <c>root\virtualization\v2</c>, since Windows Server 2016.</summary>
/// <param name="name">The node's; that of the address where there is no cluster.</param>
internal sealed class HyperVHost(string name, WsManClient client) : IDisposable
{
    public const string Space = "root/virtualization/v2";

    /// <summary>Making a checkpoint asks the guest to write out, which may take minutes.</summary>
    public static readonly TimeSpan MostJob = TimeSpan.FromMinutes(20);

    /// <summary>Layers of one disk.</summary>
    private const int MostLayers = 256;

    /// <summary><c>ReturnValue</c> of a method that goes on as a job.</summary>
    private const string Started = "4096";

    private readonly Dictionary<string, EndpointReference> _services = new(StringComparer.Ordinal);
    private readonly Lock _lock = new();

    public string Name => name;

    public WsManClient Client => client;

    public IReadOnlyList<XElement> All(string type) => client.Query(Space, "SELECT * FROM " + type);

    public IReadOnlyList<XElement> Where(string type, string key, string value) => client.Query(Space, $"SELECT * FROM {type} WHERE {key} = \"{Quoted(value)}\"");

    /// <summary>Objects whose <c>InstanceID</c> begins with that of a VM's or checkpoint's settings: <c>Microsoft:GUID\...</c></summary>
    public IReadOnlyList<XElement> PartsOf(string type, string settings) =>
        [.. client.Query(Space, $"SELECT * FROM {type} WHERE InstanceID LIKE \"{Quoted(settings)}%\"").Where(e => VmFacts.OwnerOf(e.Text("InstanceID")).Equals(settings, StringComparison.OrdinalIgnoreCase))];

    /// <summary>The host's own object of a service.</summary>
    public EndpointReference Service(string type)
    {
        lock (_lock)
        {
            if (!_services.TryGetValue(type, out EndpointReference? service))
            {
                XElement found = All(type) is [var first, ..] ? first : throw new ConnectorException($"{name} has no {type}: is Hyper-V there, and is the account one of \"Hyper-V Administrators\"?");
                service = EndpointReference.To(Space, type, [.. ((string[])["CreationClassName", "Name", "SystemCreationClassName", "SystemName"]).Select(k => (k, found.Text(k)))]);
                _services.Add(type, service);
            }

            return service;
        }
    }

    public static EndpointReference Machine(string id) => EndpointReference.To(Space, "Msvm_ComputerSystem", ("CreationClassName", "Msvm_ComputerSystem"), ("Name", id));

    public static EndpointReference Settings(string instance) => EndpointReference.To(Space, "Msvm_VirtualSystemSettingData", ("InstanceID", instance));

    /// <summary>Calls a method that changes something, and waits for the job that it makes.</summary>
    /// <param name="onJob">Told of the job as soon as there is one.</param>
    /// <returns>The method's answer.</returns>
    /// <exception cref="WsManFaultException">The host refuses, or the job failed.</exception>
    /// <exception cref="LostAnswerException">Whether it was carried out is not known.</exception>
    public XElement Do(EndpointReference target, string method, Action<string>? onJob, params IReadOnlyList<MethodArgument> arguments)
    {
        XElement answer = client.Do(target, method, arguments);
        string returned = answer.Text("ReturnValue").Trim();
        if (returned == Started)
        {
            EndpointReference job = EndpointReference.Of(answer.Element("Job")) ?? throw new LostAnswerException($"{method} goes on as a job that is not named", new InvalidDataException(method));
            onJob?.Invoke(job["InstanceID"]);
            Wait(method, job);
            return answer;
        }

        return returned == "0" ? answer : throw Failed(method, returned);
    }

    /// <summary>Waits for a job's end.</summary>
    public void Wait(string method, EndpointReference job)
    {
        long started = Environment.TickCount64;
        for (int pause = 50; ; pause = Math.Min(pause * 2, 2000))
        {
            XElement state;
            try
            {
                state = client.Get(job);
            }
            catch (WsManFaultException e) when (e.IsGone)
            {
                // A host that was restarted meanwhile has forgotten it.
                throw new LostAnswerException($"{method}: the job is gone", e);
            }

            switch (state.Text("JobState").Trim())
            {
                case "7" or "32768":
                    return;
                case "8" or "9" or "10":
                    string why = state.Text("ErrorDescription").Trim() is { Length: > 0 } said ? said : state.Text("JobStatus").Trim();
                    throw new WsManFaultException(method, "", long.TryParse(state.Text("ErrorCode"), NumberStyles.None, CultureInfo.InvariantCulture, out long code) ? code : 0, why.Length > 500 ? why[..500] : why);
            }

            if (Environment.TickCount64 - started > MostJob.TotalMilliseconds)
            {
                throw new ConnectorException($"{name}: {method} does not end within {MostJob.TotalMinutes} min");
            }

            Thread.Sleep(pause);
        }
    }

    /// <summary>A job by its id, to the end where it is still there.</summary>
    public void Settle(string job)
    {
        try
        {
            Wait("an earlier job", EndpointReference.To(Space, "Msvm_ConcreteJob", ("InstanceID", job)));
        }
        catch (Exception e) when (e is WsManFaultException or LostAnswerException)
        {
            // Whatever came of it is looked at next.
            Log.Debug("{Host}: {Reason}", name, e.Message);
        }
    }

    /// <summary>What a job made.</summary>
    public IReadOnlyList<XElement> MadeBy(string job, string type)
    {
        try
        {
            return client.Query(Space, $"ASSOCIATORS OF {{Msvm_ConcreteJob.InstanceID=\"{Quoted(job)}\"}} WHERE AssocClass = Msvm_AffectedJobElement ResultClass = {type}");
        }
        catch (WsManFaultException e)
        {
            Log.Debug("{Host}: {Reason}", name, e.Message);
            return [];
        }
    }

    /// <summary>A VM as it is now; null where this host has it not.</summary>
    public VmFacts? Find(string id)
    {
        XElement? machine = Where("Msvm_ComputerSystem", "Name", id) is [var first, ..] ? first : null;
        return machine is null ? null : VmFacts.Of(
            this,
            machine,
            Where("Msvm_VirtualSystemSettingData", "VirtualSystemIdentifier", id),
            settings => PartsOf("Msvm_StorageAllocationSettingData", settings),
            settings => PartsOf("Msvm_ResourceAllocationSettingData", settings));
    }

    /// <summary>The files of a disk from its top to its base, as the host reads them; its virtual size and identity.</summary>
    /// <exception cref="IOException">The host cannot tell.</exception>
    public DiskChain ChainOf(HostPath top)
    {
        List<HostPath> chain = [];
        IReadOnlyDictionary<string, string>? first = null;
        for (string next = top.ToString(); next.Length > 0;)
        {
            HostPath path = HostPath.Parse(next) ?? throw new ConnectorException($"{(chain.Count > 0 ? chain[^1] : top)} lies over \"{next}\", which is no path");
            if (chain.Contains(path) || chain.Count >= MostLayers)
            {
                throw new ConnectorException($"{top}: its chain does not end");
            }

            chain.Add(path);
            IReadOnlyDictionary<string, string> told = DiskSettings(path);
            first ??= told;
            next = told.GetValueOrDefault("ParentPath", "");
        }

        return new DiskChain(
            chain,
            long.TryParse(first!.GetValueOrDefault("MaxInternalSize"), NumberStyles.None, CultureInfo.InvariantCulture, out long bytes) ? bytes : 0,
            Guid.TryParse(first!.GetValueOrDefault("VirtualDiskId"), out Guid id) ? id : null);
    }

    public void Dispose() => client.Dispose();

    public static WsManFaultException Failed(string method, string returned) =>
        new(method, "", long.TryParse(returned, NumberStyles.None, CultureInfo.InvariantCulture, out long code) ? code : 0, returned switch
        {
            "1" or "32770" => "the host does not support it",
            "5" or "32775" => "the VM is in no state for it",
            "32769" => "the account may not",
            "32774" => "it is in use",
            _ => "it failed",
        });

    private IReadOnlyDictionary<string, string> DiskSettings(HostPath path)
    {
        XElement answer = client.Ask(Service("Msvm_ImageManagementService"), "GetVirtualHardDiskSettingData", new MethodArgument("Path", path.ToString()));
        string returned = answer.Text("ReturnValue").Trim();
        if (returned == Started && EndpointReference.Of(answer.Element("Job")) is { } job)
        {
            Wait("GetVirtualHardDiskSettingData", job);
        }
        else if (returned != "0")
        {
            throw Failed($"GetVirtualHardDiskSettingData of {path}", returned);
        }

        try
        {
            return EmbeddedInstance.Read(answer.Text("SettingData"));
        }
        catch (InvalidDataException e)
        {
            throw new ConnectorException($"{path}: {name} does not tell what it lies over: {e.Message}", e);
        }
    }

    private static string Quoted(string text) => text.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal);
}

/// <param name="Files">The top one first.</param>
internal sealed record DiskChain(IReadOnlyList<HostPath> Files, long Bytes, Guid? Identity);
