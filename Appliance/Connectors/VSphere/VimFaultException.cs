using System.Xml.Linq;

namespace Vmsweep.Appliance.Connectors.VSphere;

/// <summary>The server carried something out and says that it failed, or refuses it.</summary>
/// <param name="kind">The fault's type, such as <c>NotAuthenticated</c>.</param>
internal sealed class VimFaultException(string method, string kind, string message)
    : IOException($"{method}: {(message.Length > 0 ? message : "the server refuses")}{(kind.Length > 0 ? $" ({kind})" : "")}")
{
    private const int MostMessage = 500;

    public string Kind => kind;

    public bool IsNotAuthenticated => kind == "NotAuthenticated";

    /// <summary>The session ends again and again, or the server itself has lost the host that runs the VM.</summary>
    public bool IsLost => kind is "NotAuthenticated" or "HostCommunication" or "HostNotConnected" or "HostNotReachable" or "HostConnectFault" or "InvalidHostConnectionState";

    public bool IsGone => kind == "ManagedObjectNotFound";

    /// <summary>A SOAP fault.</summary>
    public static VimFaultException OfAnswer(string method, XElement fault)
    {
        XElement? detail = fault.Element("detail")?.Elements().FirstOrDefault();
        string kind = detail.KindOf() is { Length: > 0 } said ? said : detail?.Name.LocalName ?? "";
        return new VimFaultException(method, kind.EndsWith("Fault", StringComparison.Ordinal) && detail.KindOf().Length == 0 ? kind[..^5] : kind, Short(fault.Text("faultstring")));
    }

    /// <summary>The error of a task, or of a property that is missing: <c>LocalizedMethodFault</c>.</summary>
    public static VimFaultException OfError(string method, XElement error) => new(method, error.Element("fault").KindOf(), Short(error.Text("localizedMessage")));

    private static string Short(string text) => text.Length > MostMessage ? text[..MostMessage] : text;
}
