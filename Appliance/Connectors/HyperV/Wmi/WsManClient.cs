using System.Net;
using System.Net.Http.Headers;
using System.Xml.Linq;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Https;
using Vmsweep.Appliance.Connectors.VSphere;

namespace Vmsweep.Appliance.Connectors.HyperV.Wmi;

/// <summary>
/// Asks one host's WMI by WS-Management over HTTPS. The account is proven by Kerberos or NTLM, or by its password where that was asked for; either only
/// after the host's certificate was found to be the one that is trusted. Safe for many threads.
/// </summary>
internal sealed class WsManClient : IDisposable
{
    public const int DefaultPort = 5986;

    private const int MostAttempts = 4;

    /// <summary>A host has at most some thousand VMs, each with some dozen objects of a class.</summary>
    private const int MostItems = 500_000;

    private const int MostPages = 20_000;

    private static readonly TimeSpan MostRefusal = TimeSpan.FromMinutes(2);

    private readonly ConnectorSettings _settings;
    private readonly HttpsHost _http;
    private readonly HostGate _gate;
    private readonly Uri _to;
    private readonly Lazy<AuthenticationHeaderValue?> _basic;
    private volatile string? _refused;
    private volatile bool _isIn;
    private long _hostTime;

    public WsManClient(Uri address, ConnectorSettings settings)
    {
        _settings = settings;
        _to = new Uri(address, "/wsman");
        _gate = HostGate.Of(address);
        _http = new HttpsHost(address, settings, credentials: settings.IsBasic ? null : Credentials(address, settings));
        _basic = new Lazy<AuthenticationHeaderValue?>(() => settings is { IsBasic: true, Account: not null, Secret: not null } ? _http.Basic() : null, LazyThreadSafetyMode.PublicationOnly);
    }

    public string Authority => _http.Address.Authority;

    /// <summary>The host's own clock, as its last answer told it; null where none did.</summary>
    public DateTimeOffset? HostTime => Interlocked.Read(ref _hostTime) is > 0 and var ticks ? new DateTimeOffset(ticks, TimeSpan.Zero) : null;

    /// <summary>All objects that a query of WQL finds.</summary>
    public IReadOnlyList<XElement> Query(string space, string wql)
    {
        for (int attempt = 1; ; attempt++)
        {
            try
            {
                return QueryOnce(space, wql);
            }
            catch (WsManFaultException e) when (e.Kind is "InvalidEnumerationContext" && attempt < MostAttempts)
            {
                // The host has forgotten where it was: from the beginning.
            }
        }
    }

    /// <exception cref="WsManFaultException">It is not there, or the host refuses.</exception>
    public XElement Get(EndpointReference target) => Post("Get", () => WsManMessage.Get(_to, target), isRepeatable: true);

    /// <summary>Calls a method that changes nothing.</summary>
    public XElement Ask(EndpointReference target, string method, params IReadOnlyList<MethodArgument> arguments) => Invoke(target, method, arguments, isRepeatable: true);

    /// <summary>Calls a method that changes something: sent once.</summary>
    /// <exception cref="LostAnswerException">No answer came, and it may have been carried out.</exception>
    public XElement Do(EndpointReference target, string method, params IReadOnlyList<MethodArgument> arguments) => Invoke(target, method, arguments, isRepeatable: false);

    public void Dispose() => _http.Dispose();

    private static CredentialCache Credentials(Uri address, ConnectorSettings settings)
    {
        NetworkCredential credential = CredentialCache.DefaultNetworkCredentials;
        if (settings is { Account: { } account, Secret: { } secret })
        {
            int slash = account.IndexOf('\\', StringComparison.Ordinal);
            credential = slash < 0 ? new NetworkCredential(account, secret.Read()) : new NetworkCredential(account[(slash + 1)..], secret.Read(), account[..slash]);
        }

        return new CredentialCache { { address, "Negotiate", credential } };
    }

    private List<XElement> QueryOnce(string space, string wql)
    {
        XElement answer = Post("Enumerate", () => WsManMessage.Enumerate(_to, space, wql), isRepeatable: true);
        List<XElement> found = [];
        for (int pages = 1; ; pages++)
        {
            found.AddRange(answer.Element("Items")?.Elements() ?? []);
            if (answer.Element("EndOfSequence") is not null)
            {
                return found;
            }

            if (pages >= MostPages || found.Count > MostItems)
            {
                throw new ConnectorException($"{Authority}: an enumeration without an end");
            }

            string context = answer.Text("EnumerationContext");
            answer = context.Length > 0
                ? Post("Pull", () => WsManMessage.Pull(_to, space, context), isRepeatable: false, isLost: false)
                : throw new ConnectorException($"{Authority}: an enumeration that neither ends nor goes on");
        }
    }

    private XElement Invoke(EndpointReference target, string method, IReadOnlyList<MethodArgument> arguments, bool isRepeatable)
    {
        XElement answer = Post(method, () => WsManMessage.Invoke(_to, target, method, arguments), isRepeatable);
        return answer.Name.LocalName == method + "_OUTPUT" ? answer : throw new ConnectorException($"{Authority}: the answer to {method} is a {answer.Name.LocalName}");
    }

    /// <param name="isLost">An answer that does not come is told as lost.</param>
    private XElement Post(string what, Func<byte[]> message, bool isRepeatable, bool isLost = true)
    {
        byte[] content = message();
        long started = Environment.TickCount64;
        for (int attempt = 1; ; attempt++)
        {
            _gate.Pause(CancellationToken.None);
            try
            {
                return PostOnce(what, content);
            }
            catch (BusyException e) when (Environment.TickCount64 - started < MostRefusal.TotalMilliseconds)
            {
                _gate.Refused(e.Asked);
                attempt--;
            }
            catch (WsManFaultException e) when (e.IsBusy && isRepeatable && Environment.TickCount64 - started < MostRefusal.TotalMilliseconds)
            {
                _gate.Refused(null);
            }
            catch (Exception e) when (e is InvalidDataException or IOException and not (WsManFaultException or ConnectorException or BusyException))
            {
                if (!isRepeatable && isLost)
                {
                    throw new LostAnswerException($"{what}: {e.Message}", e);
                }

                if (!isRepeatable)
                {
                    // A page that was lost is not told again.
                    throw new WsManFaultException(what, "InvalidEnumerationContext", 0, e.Message);
                }

                if (attempt >= MostAttempts || e is InvalidDataException)
                {
                    throw new ConnectorException($"{what}: {e.Message}", e);
                }

                Thread.Sleep(TimeSpan.FromMilliseconds(100 << attempt));
            }
        }
    }

    private XElement PostOnce(string what, byte[] message)
    {
        if (_refused is { } before)
        {
            // An account is locked after some failures; one is enough to know.
            throw new ConnectorException(before);
        }

        if (_settings.IsBasic && _basic.Value is null)
        {
            throw new ConnectorException($"{_settings.Name}: an \"account\" and its \"secret\" are needed for \"authentication\": \"basic\"");
        }

        using var request = new HttpRequestMessage(HttpMethod.Post, _to) { Content = new ByteArrayContent(message) };
        request.Content.Headers.ContentType = new MediaTypeHeaderValue("application/soap+xml", "utf-8");
        request.Headers.Authorization = _basic.Value;
        using HttpResponseMessage response = _http.Send(request, CancellationToken.None);
        switch (response.StatusCode)
        {
            case HttpStatusCode.OK or HttpStatusCode.InternalServerError or HttpStatusCode.BadRequest:
                break;
            case HttpStatusCode.ServiceUnavailable or HttpStatusCode.TooManyRequests:
                throw new BusyException($"{Authority} has no room ({(int)response.StatusCode})", response.Headers.RetryAfter?.Delta);
            case HttpStatusCode.Unauthorized when _isIn:
                // It knew the account a moment ago: its session or ticket has ended, and what was asked was not carried out.
                _isIn = false;
                throw new BusyException($"{Authority} asks for the account again", TimeSpan.FromMilliseconds(100));
            case HttpStatusCode.Unauthorized:
                _refused = $"{Authority} does not let the account \"{_settings.Account ?? "(of this process's Kerberos ticket)"}\" in (it offers {string.Join(", ", response.Headers.WwwAuthenticate.Select(w => w.Scheme))}{(_settings.IsBasic ? "" : "; Kerberos needs its realm in /etc/krb5.conf, NTLM the package gss-ntlmssp")})";
                throw new ConnectorException(_refused);
            default:
                throw new ConnectorException($"{what}: {Authority} answers {(int)response.StatusCode}") { IsLost = response.StatusCode is HttpStatusCode.BadGateway or HttpStatusCode.GatewayTimeout };
        }

        byte[] body = _http.Body(response, VimXml.MostBytes, CancellationToken.None);
        XElement answer;
        try
        {
            answer = VimXml.Answer(body);
        }
        catch (InvalidDataException e) when (response.StatusCode != HttpStatusCode.OK)
        {
            throw new IOException($"{Authority} answers {(int)response.StatusCode}: {e.Message}", e);
        }

        _isIn = true;
        _gate.Accepted();
        Interlocked.Exchange(ref _hostTime, response.Headers.Date?.UtcTicks ?? 0);
        return answer.Name.LocalName == "Fault" ? throw WsManFaultException.Of(what, answer) : answer;
    }
}
