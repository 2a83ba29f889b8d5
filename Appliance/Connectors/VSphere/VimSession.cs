using System.Net;
using System.Net.Http.Headers;
using System.Xml.Linq;
using Serilog;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Https;

namespace Vmsweep.Appliance.Connectors.VSphere;

/// <summary>
/// A session with a vCenter or an ESXi host. Begun at the first call, kept alive, and begun anew in the middle of anything when the server has forgotten it.
/// Safe for many threads.
/// </summary>
internal sealed class VimSession : IDisposable
{
    public const string CookieName = "vmware_soap_session";

    /// <summary>A server answers in the form of the oldest version that is supported, whatever its own.</summary>
    private const string Action = "\"urn:vim25/6.5\"";

    private const int MostAttempts = 4;
    private const int MostLogIns = 3;

    /// <summary>For a host that has no room to have some again.</summary>
    private static readonly TimeSpan MostRefusal = TimeSpan.FromMinutes(2);

    /// <summary>Sessions end after thirty minutes without a call.</summary>
    private static readonly TimeSpan KeepAliveEvery = TimeSpan.FromMinutes(5);

    private static readonly MoRef ServiceInstance = new("ServiceInstance", "ServiceInstance");

    private readonly ConnectorSettings _settings;
    private readonly HostGate _gate;
    private readonly Lock _logIn = new();
    private readonly ITimer _alive;
    private readonly Lazy<XElement> _content;
    private volatile string? _cookie;
    private volatile string? _refused;
    private int _generation;

    public VimSession(Uri address, ConnectorSettings settings, TimeProvider time)
    {
        _settings = settings;
        Http = new HttpsHost(address, settings);
        _gate = HostGate.Of(address);
        _content = new Lazy<XElement>(() => Post("RetrieveServiceContent", ServiceInstance, [], true, true).Element("returnval") ?? throw Wrong("RetrieveServiceContent"), LazyThreadSafetyMode.PublicationOnly);
        _alive = time.CreateTimer(_ => KeepAlive(), null, KeepAliveEvery, KeepAliveEvery);
    }

    public HttpsHost Http { get; }

    public HostGate Gate => _gate;

    /// <summary>Counts log-ins: what belongs to a session, such as a view or a page, is gone when it has changed.</summary>
    public int Generation => Volatile.Read(ref _generation);

    public XElement About => Content.Element("about") ?? throw Wrong("RetrieveServiceContent");

    public bool IsVCenter => About.Text("apiType") == "VirtualCenter";

    private XElement Content => _content.Value;

    /// <summary>One of the server's managers.</summary>
    /// <exception cref="ConnectorException">It has none of that name.</exception>
    public MoRef Service(string name) => Content.Element(name) is { } service ? MoRef.Of(service) : throw new ConnectorException($"{Http.Address.Authority} has no {name}");

    /// <summary>A call that changes nothing: repeated when no answer comes.</summary>
    public XElement Ask(string method, MoRef target, params IReadOnlyList<XElement> arguments) => Call(method, target, arguments, isRepeatable: true);

    /// <summary>A call that changes something: sent once.</summary>
    /// <exception cref="LostAnswerException">No answer came, and it may have been carried out.</exception>
    public XElement Do(string method, MoRef target, params IReadOnlyList<XElement> arguments) => Call(method, target, arguments, isRepeatable: false);

    /// <summary>Asks for something that only a session may; logs in when there is none any more.</summary>
    public void Verify() => Ask("CurrentTime", ServiceInstance);

    /// <summary>The cookie of a living session, for requests that are no SOAP calls.</summary>
    /// <param name="refused">One that the server did not take.</param>
    public string Cookie(string? refused = null)
    {
        string? current = _cookie;
        if (current is null || current == refused)
        {
            LogIn(current);
        }

        return _cookie!;
    }

    public void Dispose()
    {
        _alive.Dispose();
        if (_cookie is not null && _refused is null)
        {
            try
            {
                Post("Logout", Service("sessionManager"), [], isRepeatable: false, isOpen: false);
            }
            catch (Exception e) when (e is IOException or InvalidDataException)
            {
                // The server ends it by itself.
                Log.Debug("logging out of {Host} failed: {Reason}", Http.Address.Authority, e.Message);
            }
        }

        Http.Dispose();
    }

    private XElement Call(string method, MoRef target, IReadOnlyList<XElement> arguments, bool isRepeatable)
    {
        for (int attempt = 1; ; attempt++)
        {
            string cookie = Cookie();
            try
            {
                XElement answer = Post(method, target, arguments, isRepeatable, isOpen: false);
                return answer.Descendants("missingSet").Any(m => m.Element("fault")?.Element("fault").KindOf() == "NotAuthenticated")
                    ? throw new VimFaultException(method, "NotAuthenticated", "")
                    : answer;
            }
            catch (VimFaultException e) when (e.IsNotAuthenticated && attempt < MostLogIns)
            {
                // It was not carried out, so that it may be sent again whatever it does.
                LogIn(cookie);
            }
        }
    }

    /// <param name="known">The cookie that is of no use any more; another thread may have replaced it meanwhile.</param>
    private void LogIn(string? known)
    {
        lock (_logIn)
        {
            if (_refused is { } before)
            {
                // An account is locked after some failures; one is enough to know.
                throw new ConnectorException(before);
            }

            if (_cookie is not null && _cookie != known)
            {
                return;
            }

            if (_settings is not { Account: { } account, Secret: { } secret })
            {
                throw new ConnectorException($"{_settings.Name}: an \"account\" and its \"secret\" are needed to log in to {Http.Address.Authority}");
            }

            MoRef manager = Service("sessionManager");
            _cookie = null;
            try
            {
                Post("Login", manager, [new XElement("userName", account), new XElement("password", secret.Read())], isRepeatable: true, isOpen: true);
            }
            catch (VimFaultException e) when (e.Kind is "InvalidLogin" or "NoPermission" or "InvalidArgument")
            {
                _refused = $"{Http.Address.Authority} does not let the account \"{account}\" in: {e.Message}";
                throw new ConnectorException(_refused, e);
            }

            if (_cookie is null)
            {
                throw new ConnectorException($"{Http.Address.Authority}: no session after the log-in");
            }

            Interlocked.Increment(ref _generation);
        }
    }

    /// <param name="isOpen">Without a session.</param>
    private XElement Post(string method, MoRef target, IReadOnlyList<XElement> arguments, bool isRepeatable, bool isOpen)
    {
        byte[] message = VimXml.Request(method, target, arguments);
        long started = Environment.TickCount64;
        for (int attempt = 1; ; attempt++)
        {
            _gate.Pause(CancellationToken.None);
            try
            {
                return PostOnce(method, message, isOpen);
            }
            catch (BusyException e) when (Environment.TickCount64 - started < MostRefusal.TotalMilliseconds)
            {
                // Refused as a whole: not carried out.
                _gate.Refused(e.Asked);
                attempt--;
            }
            catch (Exception e) when (e is InvalidDataException or IOException and not (VimFaultException or ConnectorException or BusyException))
            {
                if (!isRepeatable)
                {
                    throw new LostAnswerException($"{method}: {e.Message}", e);
                }

                if (attempt >= MostAttempts || e is InvalidDataException)
                {
                    throw new ConnectorException($"{method}: {e.Message}", e);
                }

                Thread.Sleep(TimeSpan.FromMilliseconds(100 << attempt));
            }
        }
    }

    private XElement PostOnce(string method, byte[] message, bool isOpen)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, new Uri(Http.Address, "/sdk")) { Content = new ByteArrayContent(message) };
        request.Content.Headers.ContentType = new MediaTypeHeaderValue("text/xml", "utf-8");
        request.Headers.TryAddWithoutValidation("SOAPAction", Action);
        if (!isOpen && _cookie is { } cookie)
        {
            request.Headers.TryAddWithoutValidation("Cookie", cookie);
        }

        using HttpResponseMessage response = Http.Send(request, CancellationToken.None);
        switch (response.StatusCode)
        {
            case HttpStatusCode.OK or HttpStatusCode.InternalServerError:
                break;
            case HttpStatusCode.ServiceUnavailable or HttpStatusCode.TooManyRequests:
                throw new BusyException($"{Http.Address.Authority} has no room ({(int)response.StatusCode})", response.Headers.RetryAfter?.Delta);
            case HttpStatusCode.Unauthorized:
                throw new VimFaultException(method, "NotAuthenticated", "");
            default:
                throw new ConnectorException($"{method}: {Http.Address.Authority} answers {(int)response.StatusCode}") { IsLost = response.StatusCode is HttpStatusCode.BadGateway or HttpStatusCode.GatewayTimeout };
        }

        byte[] body = Http.Body(response, VimXml.MostBytes, CancellationToken.None);
        XElement answer;
        try
        {
            answer = VimXml.Answer(body);
        }
        catch (InvalidDataException e) when (response.StatusCode == HttpStatusCode.InternalServerError)
        {
            throw new IOException($"{Http.Address.Authority} answers 500: {e.Message}", e);
        }

        if (answer.Name.LocalName == "Fault")
        {
            throw VimFaultException.OfAnswer(method, answer);
        }

        if (answer.Name.LocalName != method + "Response")
        {
            throw new InvalidDataException($"the answer to {method} is a {answer.Name.LocalName}");
        }

        _gate.Accepted();
        if (method == "Login" && response.Headers.TryGetValues("Set-Cookie", out IEnumerable<string>? cookies)
            && cookies.FirstOrDefault(c => c.StartsWith(CookieName + "=", StringComparison.Ordinal)) is { } given)
        {
            // Sent back as it came: its value is in quotes.
            _cookie = given.Split(';')[0];
        }

        return answer;
    }

    private void KeepAlive()
    {
        if (_cookie is null || _refused is not null)
        {
            return;
        }

        try
        {
            Verify();
        }
        catch (Exception e) when (e is IOException or InvalidDataException or ObjectDisposedException)
        {
            // Whoever needs the session next meets it and says so.
            Log.Debug("{Host} does not keep the session alive: {Reason}", Http.Address.Authority, e.Message);
        }
    }

    private ConnectorException Wrong(string method) => new($"{Http.Address.Authority}: the answer to {method} lacks what it must hold");
}
