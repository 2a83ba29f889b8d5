using System.Globalization;
using System.Xml.Linq;
using Vmsweep.Appliance.Connectors.Https;

namespace Vmsweep.Appliance.Connectors.VSphere;

/// <summary>A managed object with those of its properties that were asked for and can be had.</summary>
internal sealed class VimObject
{
    private readonly Dictionary<string, XElement> _values = new(StringComparer.Ordinal);

    public VimObject(XElement content)
    {
        Reference = content.Element("obj") is { } reference ? MoRef.Of(reference) : default;
        foreach (XElement property in content.Elements("propSet"))
        {
            if (property.Element("val") is { } value)
            {
                _values[property.Text("name")] = value;
            }
        }
    }

    public MoRef Reference { get; }

    public XElement? this[string property] => _values.GetValueOrDefault(property);

    public string Text(string property) => this[property]?.Value ?? "";

    public MoRef? Link(string property) => this[property] is { } value && value.Value.Length > 0 ? MoRef.Of(value) : null;
}

/// <summary>The server's PropertyCollector. Spec: vSphere Web Services SDK Programming Guide, "Client Applications and the PropertyCollector".</summary>
internal sealed class PropertyReader(VimSession session)
{
    /// <summary>Objects of one page; a server may give fewer.</summary>
    private const int PageObjects = 200;

    /// <summary>Beyond it a server lies: vCenter allows 45,000 VMs.</summary>
    private const int MostObjects = 500_000;

    private const int MostRestarts = 3;

    /// <summary>Properties of one object.</summary>
    /// <exception cref="VimFaultException">It is gone, or may not be seen.</exception>
    public VimObject Get(MoRef target, params IReadOnlyList<string> properties)
    {
        XElement answer = session.Ask(
            "RetrievePropertiesEx",
            session.Service("propertyCollector"),
            new XElement("specSet", PropertySet(target.Type, properties), new XElement("objectSet", target.Named("obj"))),
            new XElement("options"));
        return answer.Element("returnval")?.Element("objects") is { } found
            ? new VimObject(found)
            : throw new VimFaultException("RetrievePropertiesEx", "ManagedObjectNotFound", $"there is no {target.Type} {target.Value}");
    }

    /// <summary>All objects of some types below the root, page by page. Begun anew where the session ends in the middle.</summary>
    /// <param name="take">Makes of each what is kept: an inventory's raw properties would be hundreds of megabytes.</param>
    public IReadOnlyList<T> All<T>(IReadOnlyDictionary<string, IReadOnlyList<string>> properties, Func<VimObject, T> take)
    {
        for (int attempt = 1; ; attempt++)
        {
            session.Cookie();
            int generation = session.Generation;
            try
            {
                return Collect(properties, take);
            }
            catch (LostAnswerException e)
            {
                if (attempt >= MostRestarts)
                {
                    throw new ConnectorException(e.Message, e);
                }
            }
            catch (VimFaultException) when (attempt < MostRestarts)
            {
                // A view and its pages end with their session; and with no session some servers say only that they do not know the view.
                session.Verify();
                if (session.Generation == generation)
                {
                    throw;
                }
            }
        }
    }

    private List<T> Collect<T>(IReadOnlyDictionary<string, IReadOnlyList<string>> properties, Func<VimObject, T> take)
    {
        MoRef collector = session.Service("propertyCollector");
        XElement made = session.Do(
            "CreateContainerView",
            session.Service("viewManager"),
            [session.Service("rootFolder").Named("container"), .. properties.Keys.Select(t => new XElement("type", t)), new XElement("recursive", "true")]);
        MoRef view = MoRef.Of(made.Element("returnval") ?? throw new ConnectorException("no view was made"));
        List<T> all = [];
        try
        {
            XElement answer = session.Ask(
                "RetrievePropertiesEx",
                collector,
                new XElement(
                    "specSet",
                    properties.Select(p => PropertySet(p.Key, p.Value)),
                    new XElement(
                        "objectSet",
                        view.Named("obj"),
                        new XElement("skip", "true"),
                        new XElement("selectSet", new XAttribute(VimXml.Kind, "TraversalSpec"), new XElement("name", "inView"), new XElement("type", view.Type), new XElement("path", "view"), new XElement("skip", "false")))),
                new XElement("options", new XElement("maxObjects", PageObjects.ToString(CultureInfo.InvariantCulture))));
            while (true)
            {
                XElement? page = answer.Element("returnval");
                foreach (XElement found in page?.Elements("objects") ?? [])
                {
                    all.Add(all.Count < MostObjects ? take(new VimObject(found)) : throw new ConnectorException($"an inventory of more than {MostObjects} objects"));
                }

                if (page.Text("token") is not { Length: > 0 } token)
                {
                    return all;
                }

                // A page is given out once: what is lost cannot be asked for again.
                answer = session.Do("ContinueRetrievePropertiesEx", collector, new XElement("token", token));
            }
        }
        finally
        {
            try
            {
                session.Do("DestroyView", view);
            }
            catch (Exception e) when (e is IOException or InvalidDataException)
            {
                // It ends with the session.
                Serilog.Log.Debug("a view was not ended: {Reason}", e.Message);
            }
        }
    }

    private static XElement PropertySet(string type, IReadOnlyList<string> properties) =>
        new("propSet", new XElement("type", type), new XElement("all", "false"), properties.Select(p => new XElement("pathSet", p)));
}
