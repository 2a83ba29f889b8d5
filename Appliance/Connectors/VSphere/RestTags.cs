using System.Net;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Serilog;
using Vmsweep.Appliance.Connectors.Https;

namespace Vmsweep.Appliance.Connectors.VSphere;

/// <summary>
/// Tags, which vCenter keeps outside of its VIM API. Spec: vSphere Automation REST API, com.vmware.cis.tagging (/rest, from 6.5). An inventory without tags
/// is still one: what fails when it is read is logged.
/// </summary>
internal sealed class RestTags
{
    private const int MostBytes = 16 << 20;
    private const int MostTags = 10_000;
    private const int TagsAtOnce = 100;
    private const int MostCategories = 10_000;
    private const string SessionHeader = "vmware-api-session-id";

    /// <summary>Of the tag that a VM with a finding gets where that is asked for.</summary>
    public const string CategoryName = "vmsweep";
    public const string TagName = "vmsweep-detection";

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

    /// <summary>Gives a VM our tag. It and its category are made where nobody has made them yet.</summary>
    /// <exception cref="ConnectorException">The server refuses.</exception>
    public static void Attach(VimSession session, MoRef vm)
    {
        try
        {
            var tags = new RestTags(session.Http);
            string tag = tags.TagOf(tags.Category());
            tags.Send(HttpMethod.Post, $"/rest/com/vmware/cis/tagging/tag-association/{Segment(tag)}?~action=attach", new JsonObject { ["object_id"] = new JsonObject { ["type"] = vm.Type, ["id"] = vm.Value } });
        }
        catch (Exception e) when (e is IOException and not ConnectorException or InvalidDataException or JsonException or InvalidOperationException)
        {
            throw new ConnectorException($"{session.Http.Address.Authority} does not tag: {e.Message}", e);
        }
    }

    private string Category()
    {
        string? Find() => Named(Send(HttpMethod.Get, "/rest/com/vmware/cis/tagging/category", null), "category", CategoryName);
        return Find() ?? Make("category", Find, new JsonObject { ["name"] = CategoryName, ["description"] = "what vmsweep found", ["cardinality"] = "MULTIPLE", ["associable_types"] = new JsonArray((JsonNode)"VirtualMachine") });
    }

    private string TagOf(string category)
    {
        string? Find() => Named(Send(HttpMethod.Post, $"/rest/com/vmware/cis/tagging/tag/{Segment(category)}?~action=list-tags-for-category", null), "tag", TagName);
        return Find() ?? Make("tag", Find, new JsonObject { ["name"] = TagName, ["description"] = "vmsweep found malware in this VM", ["category_id"] = category });
    }

    /// <summary>The id of what has a name; null where nothing has.</summary>
    private string? Named(JsonNode? ids, string kind, string name) =>
        Texts(ids?["value"]).Take(MostCategories).FirstOrDefault(id => (string?)Send(HttpMethod.Get, $"/rest/com/vmware/cis/tagging/{kind}/{Segment(id)}", null)?["value"]?["name"] == name);

    /// <param name="find">Asked again where somebody else was faster.</param>
    private string Make(string kind, Func<string?> find, JsonObject specification)
    {
        try
        {
            return (string?)Send(HttpMethod.Post, $"/rest/com/vmware/cis/tagging/{kind}", new JsonObject { ["create_spec"] = specification })?["value"] ?? throw new InvalidDataException($"no id of the {kind} that was made");
        }
        catch (IOException e) when (e is not ConnectorException)
        {
            return find() ?? throw new IOException($"the {kind} cannot be made: {e.Message}", e);
        }
    }

    private static string Segment(string id) => "id:" + Uri.EscapeDataString(id);

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
                string name = vms.Length > 0 ? (string?)Send(HttpMethod.Get, $"/rest/com/vmware/cis/tagging/tag/{Segment((string?)tag!["tag_id"] ?? "")}", null)?["value"]?["name"] ?? "" : "";
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
        byte[] answer = response.StatusCode is HttpStatusCode.OK or HttpStatusCode.Created or HttpStatusCode.NoContent ? _http.Body(response, MostBytes, CancellationToken.None)
            : throw new IOException($"{path} answers {(int)response.StatusCode}");
        return answer.Length > 0 ? JsonNode.Parse(answer, documentOptions: new JsonDocumentOptions { MaxDepth = 16 }) : null;
    }
}
