using System.Globalization;
using System.Xml.Linq;
using Vmsweep.Appliance.Connectors.VSphere;

namespace Vmsweep.Appliance.Connectors.HyperV.Wmi;

/// <summary>A host refuses a message, or carried out a method that failed.</summary>
/// <param name="kind">The fault's subcode, such as <c>AccessDenied</c>.</param>
/// <param name="code">Windows' or the method's own code; 0 where none is told.</param>
internal sealed class WsManFaultException(string action, string kind, long code, string message)
    : IOException($"{action}: {(message.Length > 0 ? message : "the host refuses")}{Suffix(kind, code)}")
{
    private const int MostMessage = 500;

    // WBEM_E_NOT_FOUND, WBEM_E_INVALID_NAMESPACE, WBEM_E_INVALID_CLASS as faults carry them.
    private const long NotFound = 0x8004_1002, InvalidNamespace = 0x8004_100E, InvalidClass = 0x8004_1010;

    public string Kind => kind;

    public bool IsDenied => kind == "AccessDenied" || code is 5 or 0x8007_0005;

    /// <summary>The object, class or namespace is not there.</summary>
    public bool IsGone => code is NotFound or InvalidNamespace or InvalidClass || kind is "DestinationUnreachable" or "InvalidResourceURI";

    /// <summary>It is told to come again.</summary>
    public bool IsBusy => kind is "QuotaLimit" or "TimedOut" or "Concurrency";

    /// <summary>Spec: SOAP 1.2 "SOAP Fault"; MS-WSMV 2.2.4.43 "WSManFaultType".</summary>
    public static WsManFaultException Of(string action, XElement fault)
    {
        string kind = fault.Element("Code")?.Element("Subcode").Text("Value") ?? "";
        XElement? detail = fault.Element("Detail")?.Element("WSManFault");
        string text = detail.Text("Message").Trim() is { Length: > 0 } said ? said : fault.Element("Reason").Text("Text").Trim();
        string? inner = (string?)detail?.Descendants().FirstOrDefault(d => d.Name.LocalName == "WSManFault" && d.Attribute("Code") is not null)?.Attribute("Code") ?? (string?)detail?.Attribute("Code");
        return new WsManFaultException(
            action,
            kind[(kind.IndexOf(':', StringComparison.Ordinal) + 1)..].Trim(),
            long.TryParse(inner, NumberStyles.None, CultureInfo.InvariantCulture, out long code) ? code : 0,
            text.Length > MostMessage ? text[..MostMessage] : text);
    }

    private static string Suffix(string kind, long code) =>
        (kind.Length, code) switch
        {
            (0, 0) => "",
            (0, _) => string.Create(CultureInfo.InvariantCulture, $" ({code})"),
            (_, 0) => $" ({kind})",
            _ => string.Create(CultureInfo.InvariantCulture, $" ({kind}, {code})"),
        };
}
