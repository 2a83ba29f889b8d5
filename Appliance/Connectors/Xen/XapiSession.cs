using System.Buffers;
using System.Net;
using System.Net.Http.Headers;
using System.Text.Json;
using System.Text.Unicode;
using Serilog;
using Vmsweep.Appliance.Connectors.Configuration;
using Vmsweep.Appliance.Connectors.Https;

namespace Vmsweep.Appliance.Connectors.Xen;

/// <summary>
/// A session with a pool's master. Begun at the first call, and begun anew in the middle of anything when the pool has forgotten it; one lives for a day
/// without a call, longer than any view goes without one. Safe for many threads. Spec: Xen management API, "Wire protocol", JSON-RPC 2.0.
/// </summary>
internal sealed class XapiSession : IDisposable
{
    /// <summary>A pool of some thousand VMs tells of its disks in tens of megabytes.</summary>
    public const int MostBytes = 256 << 20;

    private const int MostDepth = 16;
    private const int MostAttempts = 4;
    private const int MostLogIns = 3;
    private const int MostHops = 2;
    private const int DefaultPort = 443;
    private const string Version = "1.0";
    private const string Originator = "vmsweep";

    /// <summary>For a host that has no room to have some again.</summary>
    private static readonly TimeSpan MostRefusal = TimeSpan.FromMinutes(2);

    private readonly ConnectorSettings _settings;
    private readonly Lock _logIn = new();
    private readonly List<HttpsHost> _left = [];
    private volatile HttpsHost _http;
    private volatile string? _session;
    private volatile string? _refused;
    private int _calls;

    public XapiSession(ConnectorSettings settings)
    {
        _settings = settings;
        _http = new HttpsHost(new UriBuilder("https", settings.Address.Host, Port).Uri, settings);
    }

    /// <summary>The master.</summary>
    public HttpsHost Http => _http;

    public int Port => _settings.Address.Port > 0 ? _settings.Address.Port : DefaultPort;

    /// <summary>A call that changes nothing: repeated when no answer comes.</summary>
    public JsonElement Ask(string method, params IReadOnlyList<object> arguments) => Call(method, arguments, isRepeatable: true);

    /// <summary>A call that changes something: sent once.</summary>
    /// <exception cref="LostAnswerException">No answer came, and it may have been carried out.</exception>
    public JsonElement Do(string method, params IReadOnlyList<object> arguments) => Call(method, arguments, isRepeatable: false);

    public XapiRecord Record(string kind, string reference) => new(Ask(kind + ".get_record", reference));

    public Dictionary<string, XapiRecord> Table(string kind) => XapiRecord.Table(Ask(kind + ".get_all_records"));

    /// <summary>The reference of an object by its lasting key; null where there is none.</summary>
    public string? Find(string kind, string uuid)
    {
        try
        {
            return XapiRecord.TextOf(Ask(kind + ".get_by_uuid", uuid)) is { Length: > 0 } found ? found : null;
        }
        catch (XapiException e) when (e.IsGone)
        {
            return null;
        }
    }

    /// <summary>The living session, for requests that are no calls.</summary>
    /// <param name="refused">One that was not taken.</param>
    public string Reference(string? refused = null)
    {
        string? current = _session;
        if (current is null || current == refused)
        {
            LogIn(current);
        }

        return _session!;
    }

    public void Dispose()
    {
        if (_session is { } session && _refused is null)
        {
            try
            {
                Post("session.logout", [session], isRepeatable: false);
            }
            catch (Exception e) when (e is IOException or InvalidDataException)
            {
                // It ends by itself; a pool holds some hundred of them.
                Log.Debug("logging out of {Host} failed: {Reason}", _http.Address.Authority, e.Message);
            }
        }

        _http.Dispose();
        _left.ForEach(h => h.Dispose());
    }

    private JsonElement Call(string method, IReadOnlyList<object> arguments, bool isRepeatable)
    {
        for (int attempt = 1; ; attempt++)
        {
            string session = Reference();
            try
            {
                return Post(method, [session, .. arguments], isRepeatable);
            }
            catch (XapiException e) when ((e.IsSessionInvalid || e.IsMember) && attempt < MostLogIns)
            {
                // It was not carried out, so that it may be sent again whatever it does. A master may have become a member meanwhile.
                LogIn(session);
            }
        }
    }

    /// <param name="known">The session that is of no use any more; another thread may have replaced it meanwhile.</param>
    private void LogIn(string? known)
    {
        lock (_logIn)
        {
            if (_refused is { } before)
            {
                // An account is locked after some failures; one is enough to know.
                throw new ConnectorException(before);
            }

            if (_session is not null && _session != known)
            {
                return;
            }

            if (_settings is not { Account: { } account, Secret: { } secret })
            {
                throw new ConnectorException($"{_settings.Name}: an \"account\" and its \"secret\" are needed to log in to {_http.Address.Authority}");
            }

            for (int hop = 0; ; hop++)
            {
                try
                {
                    string session = XapiRecord.TextOf(Post("session.login_with_password", [account, secret.Read(), Version, Originator], isRepeatable: true));
                    _session = session.Length > 0 ? session : throw new ConnectorException($"{_http.Address.Authority}: no session after the log-in");
                    return;
                }
                catch (XapiException e) when (e.IsMember && hop < MostHops)
                {
                    MoveTo(e.Details.Count > 0 ? e.Details[0] : "");
                }
                catch (XapiException e) when (e.Code is "SESSION_AUTHENTICATION_FAILED" or "SESSION_AUTHORIZATION_FAILED")
                {
                    _refused = $"{_http.Address.Authority} does not let the account \"{account}\" in ({e.Code})";
                    throw new ConnectorException(_refused, e);
                }
                catch (XapiException e)
                {
                    throw new ConnectorException($"{_http.Address.Authority}: {e.Message}", e);
                }
            }
        }
    }

    /// <summary>To the master that a member of the pool names: only where the operator has said that it may be, for whoever answers there is given the password.</summary>
    private void MoveTo(string address)
    {
        ConnectorSettings settings = _settings.Hosts.TryGetValue(address, out string? pin) ? _settings with { PinnedCertificate = pin }
            : address == _settings.Address.Host ? _settings
            : throw new ConnectorException($"{_http.Address.Authority} is a member of a pool whose master is {address}. It is not asked, because nobody has said that it may be: make that the address, or name it in \"hosts\" with its certificate");
        if (Uri.CheckHostName(address) == UriHostNameType.Unknown)
        {
            throw new ConnectorException($"{_http.Address.Authority}: \"{address}\" is no address of a master");
        }

        // Others may be in the middle of a request to it.
        _left.Add(_http);
        _http = new HttpsHost(new UriBuilder("https", address, Port).Uri, settings);
    }

    private JsonElement Post(string method, IReadOnlyList<object> arguments, bool isRepeatable)
    {
        int id = Interlocked.Increment(ref _calls);
        byte[] message = Request(method, arguments, id);
        long started = Environment.TickCount64;
        for (int attempt = 1; ; attempt++)
        {
            HostGate gate = HostGate.Of(_http.Address);
            gate.Pause(CancellationToken.None);
            try
            {
                JsonElement answer = PostOnce(method, message, id);
                gate.Accepted();
                return answer;
            }
            catch (BusyException e) when (Environment.TickCount64 - started < MostRefusal.TotalMilliseconds)
            {
                // Refused as a whole: not carried out.
                gate.Refused(e.Asked);
                attempt--;
            }
            catch (Exception e) when (e is InvalidDataException or IOException and not (XapiException or ConnectorException or BusyException))
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

    private JsonElement PostOnce(string method, byte[] message, int id)
    {
        HttpsHost http = _http;
        using var request = new HttpRequestMessage(HttpMethod.Post, new Uri(http.Address, "/jsonrpc")) { Content = new ByteArrayContent(message) };
        request.Content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
        using HttpResponseMessage response = http.Send(request, CancellationToken.None);
        switch (response.StatusCode)
        {
            case HttpStatusCode.OK:
                break;
            case HttpStatusCode.ServiceUnavailable or HttpStatusCode.TooManyRequests:
                throw new BusyException($"{http.Address.Authority} has no room ({(int)response.StatusCode})", response.Headers.RetryAfter?.Delta);
            case HttpStatusCode.Unauthorized:
                throw new XapiException(method, "SESSION_INVALID", []);
            case HttpStatusCode.InternalServerError:
                throw new IOException($"{http.Address.Authority} answers 500");
            default:
                throw new ConnectorException($"{method}: {http.Address.Authority} answers {(int)response.StatusCode}") { IsLost = response.StatusCode is HttpStatusCode.BadGateway or HttpStatusCode.GatewayTimeout };
        }

        return Answer(method, http.Body(response, MostBytes, CancellationToken.None), id);
    }

    /// <exception cref="InvalidDataException">It is no answer to this call.</exception>
    private static JsonElement Answer(string method, byte[] body, int id)
    {
        if (!Utf8.IsValid(body))
        {
            // Names of guests may be anything; what is no text in them is replaced.
            body = System.Text.Encoding.UTF8.GetBytes(System.Text.Encoding.UTF8.GetString(body));
        }

        JsonElement root;
        try
        {
            using JsonDocument document = JsonDocument.Parse(body, new JsonDocumentOptions { MaxDepth = MostDepth });
            root = document.RootElement.Clone();
        }
        catch (JsonException e)
        {
            throw new InvalidDataException($"the answer is no JSON, or nested deeper than {MostDepth}: {e.Message}", e);
        }

        var answer = new XapiRecord(root);
        if (answer.Member("id") is not { ValueKind: JsonValueKind.Number } said || !said.TryGetInt32(out int of) || of != id)
        {
            throw new InvalidDataException("the answer is to something else");
        }

        if (answer.Member("error") is { ValueKind: JsonValueKind.Object } error)
        {
            var fault = new XapiRecord(error);
            throw new XapiException(method, fault.Text("message"), fault.Texts("data"));
        }

        return answer.Member("result") ?? throw new InvalidDataException("the answer has neither a result nor an error");
    }

    private static byte[] Request(string method, IReadOnlyList<object> arguments, int id)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(buffer))
        {
            writer.WriteStartObject();
            writer.WriteString("jsonrpc", "2.0");
            writer.WriteString("method", method);
            writer.WriteStartArray("params");
            foreach (object argument in arguments)
            {
                switch (argument)
                {
                    case string text:
                        writer.WriteStringValue(text);
                        break;
                    case IReadOnlyList<string> list:
                        writer.WriteStartArray();
                        foreach (string text in list)
                        {
                            writer.WriteStringValue(text);
                        }

                        writer.WriteEndArray();
                        break;
                    default:
                        throw new ArgumentException($"{method}: no argument of a call is a {argument.GetType().Name}", nameof(arguments));
                }
            }

            writer.WriteEndArray();
            writer.WriteNumber("id", id);
            writer.WriteEndObject();
        }

        return buffer.WrittenSpan.ToArray();
    }
}
