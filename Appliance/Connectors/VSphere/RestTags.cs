using System.Net;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Serilog;
using Vmsweep.Appliance.Connectors.Https;

namespace Vmsweep.Appliance.Connectors.VSphere;

/// <summary>
/// Tags, which vCenter keeps outside of its VIM API. Spec: vSphere Automation REST API, com.vmware.cis.tagging (/rest, from 6.5). An inventory without tags
/// is still one: what fails here is logged.
/// </summary>
internal sealed class RestTags
{
    private const int MostBytes = 16 << 20;
    private const int MostTags = 10_000;
    private const int TagsAtOnce = 100;
    private const string SessionHeader = "vmware-api-session-id";

    private readonly HttpsHost _http;
    private readonly string _session;

    private RestTags(HttpsHost http)
    {
        _http = http;
        _session = "";
        _session = (string?)Send(HttpMethod.Post, "/rest/com/vmware/cis/session", null)?["value"] ?? throw new InvalidDataException("no session for tags");
    }

    /// <summary>Names of tags by the key of the VM that has them.</summary>
    public static IReadOnlyDictionary<string, IReadOnlyList<string>> Read(VimSession session)
    {
        if (!session.IsVCenter)
        {
            return new Dictionary<string, IReadOnlyList<string>>();
        }

        try
        {
            return new RestTags(session.Http).Attached();
        }
        catch (Exception e) when (e is IOException and not ConnectorException or InvalidDataException or JsonException or InvalidOperationException)
        {
            Log.Warning("the tags of {Host} cannot be read: {Reason}", session.Http.Address.Authority, e.Message);
            return new Dictionary<string, IReadOnlyList<string>>();
        }
    }

    private Dictionary<string, IReadOnlyList<string>> Attached()
    {
        var attached = new Dictionary<string, List<string>>(StringComparer.Ordinal);
        string[] tags = [.. Texts(Send(HttpMethod.Get, "/rest/com/vmware/cis/tagging/tag", null)?["value"]).Take(MostTags)];
        foreach (string[] some in tags.Chunk(TagsAtOnce))
        {
            var asked = new JsonObject { ["tag_ids"] = new JsonArray([.. some.Select(t => JsonValue.Create(t))]) };
            foreach (JsonNode? tag in Send(HttpMethod.Post, "/rest/com/vmware/cis/tagging/tag-association?~action=list-attached-objects-on-tags", asked)?["value"]?.AsArray() ?? [])
            {
                string[] vms = [.. (tag?["object_ids"]?.AsArray() ?? []).Where(o => (string?)o?["type"] == "VirtualMachine").Select(o => (string?)o!["id"] ?? "")];
                string name = vms.Length > 0 ? (string?)Send(HttpMethod.Get, $"/rest/com/vmware/cis/tagging/tag/id:{Uri.EscapeDataString((string?)tag!["tag_id"] ?? "")}", null)?["value"]?["name"] ?? "" : "";
                foreach (string id in name.Length > 0 ? vms : [])
                {
                    if (!attached.TryGetValue(id, out List<string>? names))
                    {
                        attached.Add(id, names = []);
                    }

                    names.Add(name);
                }
            }
        }

        return attached.ToDictionary(a => a.Key, a => (IReadOnlyList<string>)a.Value, StringComparer.Ordinal);
    }

    private static IEnumerable<string> Texts(JsonNode? list) => (list?.AsArray() ?? []).Select(n => (string?)n ?? "");

    private JsonNode? Send(HttpMethod method, string path, JsonObject? body)
    {
        using var request = new HttpRequestMessage(method, new Uri(_http.Address, path));
        if (body is not null)
        {
            request.Content = new StringContent(body.ToJsonString(), Encoding.UTF8, "application/json");
        }

        if (_session.Length > 0)
        {
            request.Headers.TryAddWithoutValidation(SessionHeader, _session);
        }
        else
        {
            request.Headers.Authorization = _http.Basic();
        }

        using HttpResponseMessage response = _http.Send(request, CancellationToken.None);
        return response.StatusCode is HttpStatusCode.OK or HttpStatusCode.Created
            ? JsonNode.Parse(_http.Body(response, MostBytes, CancellationToken.None), documentOptions: new JsonDocumentOptions { MaxDepth = 16 })
            : throw new IOException($"{path} answers {(int)response.StatusCode}");
    }
}
